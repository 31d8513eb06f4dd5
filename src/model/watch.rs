//! Files whose change restarts an environment: `[watch]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[watch]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRules {
    /// Folders and files, relative to `base`.
    pub paths: Vec<PathBuf>,
    /// Names that do not count, wherever they are; `*` stands for any part of one.
    pub ignore: Vec<String>,
    /// How long nothing must change before the restart.
    pub delay: Duration,
}

/// What does not count where `ignore` is not given.
pub const IGNORED: [&str; 2] = ["node_modules", ".git"];

/// What editors write beside a file, which never counts.
const OF_EDITORS: [&str; 5] = ["*~", ".*.sw?", ".#*", "4913", ".*.tmp"];

impl WatchRules {
    /// Whether a file or folder of that name counts.
    #[must_use]
    pub fn counts(&self, name: &str) -> bool {
        let ignored = self.ignore.iter().map(String::as_str).chain(OF_EDITORS);
        !ignored.into_iter().any(|pattern| fits(pattern.as_bytes(), name.as_bytes()))
    }
}

/// Whether `name` is what `pattern` says: `*` is any part, `?` any one byte.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // Where the last `*` was, and how much of the name it has taken.
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < name.len() {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[at] => {
                at += 1;
                of += 1;
            }
            _ => match &mut star {
                Some((pattern_at, taken)) => {
                    *taken += 1;
                    (of, at) = (*pattern_at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[of..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name) in [
            ("a", "a"),
            ("*.log", "x.log"),
            ("*", ""),
            ("a*b*c", "a-b-b-c"),
            (".*.sw?", ".x.js.swp"),
        ] {
            assert!(fits(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in
            [("a", "ab"), ("*.log", "x.logs"), ("", "a"), ("a*b", "abc"), ("?", ""), ("*~", "a")]
        {
            assert!(!fits(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        // As long as it is bad: no time without end.
        assert!(!fits("*a".repeat(40).as_bytes(), "a".repeat(4_000).replace('a', "b").as_bytes()));
    }

    #[test]
    fn what_editors_leave_never_counts() {
        let rules =
            WatchRules { paths: Vec::new(), ignore: vec!["dist".into()], delay: Duration::ZERO };
        for name in ["index.js~", ".index.js.swp", "4913", "dist"] {
            assert!(!rules.counts(name), "{name}");
        }
        assert!(rules.counts("index.js") && rules.counts("distance"));
    }
}
