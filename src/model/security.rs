//! What stands round an app, as it is found and not as it was asked for.

use serde::{Deserialize, Serialize};

/// How well a wall stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stand {
    /// As it is by default, or stricter.
    Firm,
    /// The profile or the host takes something away from it.
    Weaker,
    /// There is nothing.
    Open,
    /// It could not be looked at.
    Unknown,
}

impl Stand {
    /// As JSON has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Firm => "firm",
            Self::Weaker => "weaker",
            Self::Open => "open",
            Self::Unknown => "unknown",
        }
    }
}

/// One wall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallLine {
    /// Which, in a word or two.
    pub wall: String,
    /// How well it stands.
    pub stand: Stand,
    /// What was found.
    pub text: String,
}
