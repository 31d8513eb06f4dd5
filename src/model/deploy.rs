//! Releases of an app: `[deploy]`, and which one is chosen.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest name of a release, in bytes.
const LONGEST: usize = 128;

/// The link beside a release folder by which people find the release that is chosen.
pub const LINK: &str = "current";

/// The name of a release: one folder's, `[A-Za-z0-9][A-Za-z0-9._+-]*`, so that it leads nowhere else and is no option
/// of a command's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseName(String);

impl ReleaseName {
    /// Checks `text`.
    ///
    /// # Errors
    /// The text is not of the form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        if is_first && text.len() <= LONGEST && text.bytes().all(is_rest) {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(64).flat_map(char::escape_default).collect();
        Err(format!(
            "\"{shown}\" is no name of a release: the name of one folder, of letters, digits, \".\", \"_\", \"+\" and \"-\", as in 2026-11-26-a1b2c3d"
        ))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ReleaseName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<ReleaseName> for String {
    fn from(name: ReleaseName) -> Self {
        name.0
    }
}

/// `[deploy]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployRules {
    /// The folder of the releases, relative to `base`; without links.
    pub releases: PathBuf,
    /// A command in a new release before it is chosen; empty is none.
    pub build: Vec<String>,
    /// How long that may take.
    pub build_within: Duration,
    /// How long a new release is watched before it counts as good.
    pub watch: Duration,
    /// How many releases that were deployed are kept, the one in use included.
    pub keep: u32,
}

/// The release that an environment runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// A folder in that of the releases.
    pub name: ReleaseName,
    /// Why it took the place of another, for the journal; none where that is not new.
    pub why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_one_plain_name() {
        for good in ["1", "2026-11-26-a1b2c3d", "v1.2.3+7", "A_b"] {
            assert_eq!(ReleaseName::parse(good).expect(good).as_str(), good);
        }
        let long = "a".repeat(129);
        for bad in ["", ".", "..", ".a", "-a", "a/b", "/", "a b", "a\n", "é", "a\0", &long] {
            assert!(ReleaseName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<ReleaseName>("\"../x\"").is_err());
    }
}
