//! Who is told of what happens: `[notify]` of a profile, and one thing to tell.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Event;

/// `[notify]`, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// The program, absolute, and its arguments.
    pub command: Vec<String>,
    /// Its user, never root.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Of what ([`super::EventKind::notice`]).
    pub events: Vec<String>,
    /// How long it may take.
    pub within: Duration,
}

/// All that can be told.
pub const NOTICES: [&str; 17] = [
    "started",
    "exit",
    "crash",
    "memory-ceiling",
    "memory-high",
    "stopped",
    "restarted",
    "deadline",
    "health",
    "start-failed",
    "gave-up",
    "blocked",
    "reload-failed",
    "leak",
    "lines-lost",
    "refused",
    "warning",
];

/// What is told unless the profile says otherwise.
pub const USUAL_NOTICES: [&str; 8] = [
    "crash",
    "memory-ceiling",
    "health",
    "start-failed",
    "gave-up",
    "blocked",
    "leak",
    "lines-lost",
];

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Which of [`NOTICES`].
    pub word: String,
    /// What happened; of several the last.
    pub event: Event,
    /// How often.
    pub times: u64,
}
