//! What this host offers, and what is missing: the findings of `swrun doctor`.
//!
//! Each topic is a decision about values (`judge_…`), apart from where the values come from.
#![forbid(unsafe_code)]

mod kernel;
mod privileges;
mod resources;
pub mod setup;
mod software;
pub mod units;

pub use software::is_systemds;

use serde::Serialize;

use crate::model::Places;

/// How well a topic stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// swrun works, with something less.
    Degraded,
    /// swrun cannot do its work.
    Bad,
}

/// How well the host stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Grade {
    /// Nothing is missing.
    A,
    /// All walls stand; something else is less than it could be.
    B,
    /// A wall is missing that another host would have.
    C,
    /// swrun cannot do its work.
    F,
}

/// Topics that are walls round an app.
const WALLS: [&str; 3] = ["seccomp", "ports", "landlock"];

impl Grade {
    /// The grade of a host of which this was found.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        let is_any = |is: &dyn Fn(&Finding) -> bool| findings.iter().any(is);
        if is_any(&|finding| finding.level == Level::Bad) {
            Self::F
        } else if is_any(&|finding| finding.level != Level::Good && WALLS.contains(&finding.topic))
        {
            Self::C
        } else if is_any(&|finding| finding.level != Level::Good) {
            Self::B
        } else {
            Self::A
        }
    }

    /// What it means.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::A => "nothing is missing",
            Self::B => "all walls stand; something else is less than it could be",
            Self::C => "a wall is missing",
            Self::F => "swrun cannot do its work here",
        }
    }
}

/// What was found about one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The topic, one word or two.
    pub topic: &'static str,
    /// How well it stands.
    pub level: Level,
    /// What was found, and what it means.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn good(topic: &'static str, text: impl Into<String>) -> Self {
        Self { topic, level: Level::Good, text: text.into(), advice: None }
    }

    fn degraded(topic: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { topic, level: Level::Degraded, text: text.into(), advice: Some(advice.into()) }
    }

    fn bad(topic: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { topic, level: Level::Bad, text: text.into(), advice: Some(advice.into()) }
    }

    /// A finding about a value that could not be read: never taken for a good one.
    fn unknown(topic: &'static str, what: &str) -> Self {
        Self {
            topic,
            level: Level::Degraded,
            text: format!("{what} could not be read"),
            advice: None,
        }
    }
}

/// Looks at this host. Reads only; nothing is changed. `places` are those of the runner.
#[must_use]
pub fn examine(places: &Places) -> Vec<Finding> {
    let mut findings = kernel::examine();
    findings.extend(privileges::examine(places));
    findings.extend(resources::examine());
    findings.extend(software::examine());
    findings
}

/// What this kernel's Landlock leaves open, for whom it is a lack.
#[must_use]
pub fn landlock_lacks(version: Option<u32>) -> Option<String> {
    let finding = kernel::judge_landlock(version);
    (finding.level != Level::Good).then_some(finding.text)
}

/// The trimmed text of a small file of the kernel.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_one_finding_with_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let findings = examine(&Places::below(folder.path()));
        let topics: Vec<_> = findings.iter().map(|finding| finding.topic).collect();
        for topic in ["kernel", "cgroups", "seccomp", "capabilities", "open files", "swap", "node"]
        {
            assert!(topics.contains(&topic), "{topic} is missing in {topics:?}");
        }
        for finding in &findings {
            assert!(!finding.text.is_empty() && !finding.text.ends_with('.'), "{finding:?}");
            assert!(finding.level == Level::Good || !finding.text.is_empty());
        }
    }

    #[test]
    fn the_grade_is_that_of_the_worst() {
        let good = || Finding::good("kernel", "Linux 6.1");
        let less = |topic| Finding::degraded(topic, "less", "do");
        assert_eq!(Grade::of(&[good()]), Grade::A);
        assert_eq!(Grade::of(&[good(), less("swap")]), Grade::B);
        assert_eq!(Grade::of(&[less("swap"), less("landlock"), good()]), Grade::C);
        assert_eq!(Grade::of(&[Finding::unknown("ports", "whether")]), Grade::C);
        assert_eq!(Grade::of(&[less("ports"), Finding::bad("kernel", "old", "new")]), Grade::F);
    }

    #[test]
    fn a_finding_is_plain_json() {
        let good = serde_json::to_string(&Finding::good("kernel", "Linux 6.1")).expect("json");
        assert_eq!(good, r#"{"topic":"kernel","level":"good","text":"Linux 6.1"}"#);
        let bad = serde_json::to_value(Finding::bad("root", "no", "use sudo")).expect("json");
        assert_eq!((&bad["level"], &bad["advice"]), (&"bad".into(), &"use sudo".into()));
    }
}
