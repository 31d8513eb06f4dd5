//! What is made of an environment's memory over time, and what is done about it.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakVerdict {
    /// There is too little to judge by.
    Unknown,
    /// It does not grow.
    None,
    /// It grows, and something harmless explains it, or it is too early to say.
    Watching,
    /// It grows, and nothing harmless is known to explain it; it is young, or few lives did so.
    Suspected,
    /// It grows, in each part of what was seen, and nothing harmless can explain it.
    Leaking,
}

impl LeakVerdict {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::None, Self::Watching, Self::Suspected, Self::Leaking];

    /// The word of the interface.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::Watching => "watching",
            Self::Suspected => "suspected",
            Self::Leaking => "leaking",
        }
    }
}

/// What explains growth without a leak, or keeps a leak from being sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakDoubt {
    /// It began too lately: what an app takes while it gets warm is not known yet.
    Young,
    /// It slows down: caches and pools that fill.
    Levels,
    /// It rose in steps, and stayed.
    Steps,
    /// It gave much of it back meanwhile, or had as much before.
    Falls,
    /// The load comes and goes, or is not known: a daily wave explains it, until two days are seen.
    Wave,
}

/// The verdict, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeakStatus {
    /// How bad.
    pub verdict: LeakVerdict,
    /// Growth.
    pub bytes_per_hour: Option<i64>,
    /// 0 to 1: how unlikely chance is to make such a trend.
    pub confidence: Option<f64>,
    /// Seconds until the trend meets the ceiling.
    pub ceiling_in_s: Option<u64>,
    /// What speaks against a leak.
    pub doubt: Option<LeakDoubt>,
    /// Over how many seconds that was seen.
    pub seen_s: Option<u64>,
    /// How many lives climbed in the same way, where it rests on several.
    pub lives: Option<u32>,
}

impl LeakStatus {
    /// There is no history, or too little.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            verdict: LeakVerdict::Unknown,
            bytes_per_hour: None,
            confidence: None,
            ceiling_in_s: None,
            doubt: None,
            seen_s: None,
            lives: None,
        }
    }
}

/// `[leak]` of a profile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeakRules {
    /// What is done about a leak.
    pub action: LeakAction,
}

/// `action`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakAction {
    /// It is told.
    #[default]
    Report,
    /// The environment is reloaded in a quiet minute, before the ceiling is met.
    Reload,
}
