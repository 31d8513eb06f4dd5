//! What an environment is, and what it is wanted to be: two things.

use serde::{Deserialize, Serialize};

/// The state of an environment or an instance as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing runs and nothing is due.
    Stopped,
    /// An instance is on its way up.
    Starting,
    /// All wanted instances run.
    Online,
    /// An instance is on its way down.
    Stopping,
    /// It died and waits for its next try.
    Backoff,
    /// It gave up; `start` or `restart` clears it.
    Errored,
    /// Its port is held by a stranger.
    Blocked,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Stopped,
        Self::Starting,
        Self::Online,
        Self::Stopping,
        Self::Backoff,
        Self::Errored,
        Self::Blocked,
    ];

    /// The word of the JSON form.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Online => "online",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Errored => "errored",
            Self::Blocked => "blocked",
        }
    }
}

/// What the operator wants; only swrun's verbs change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// It is to run, also after a boot.
    Online,
    /// It is not.
    Stopped,
}
