//! Why an instance ended, as `status --json` and scripts know it.

use serde::{Deserialize, Serialize};

/// The cause of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It ended by itself with exit code 0.
    Exit,
    /// A non-zero exit code, or a signal that swrun did not send.
    Crash,
    /// The kernel met the ceiling (`memory.max`) and the whole instance was killed.
    MemoryCeiling,
    /// The soft ceiling: more unreclaimable memory than `memory-high`.
    MemoryHigh,
    /// `swrun stop`, or the host going down.
    Stopped,
    /// `swrun restart`.
    Restarted,
    /// It was asked to end and did not within its grace.
    Deadline,
    /// The health address did not answer.
    Health,
    /// It could not be started at all.
    StartFailed,
}

impl Cause {
    /// The word of the JSON form.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Crash => "crash",
            Self::MemoryCeiling => "memory-ceiling",
            Self::MemoryHigh => "memory-high",
            Self::Stopped => "stopped",
            Self::Restarted => "restarted",
            Self::Deadline => "deadline",
            Self::Health => "health",
            Self::StartFailed => "start-failed",
        }
    }
}

/// How the last instance of an environment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Why.
    pub cause: Cause,
    /// The exit code, unless a signal ended it or the start failed.
    pub code: Option<i32>,
    /// The signal's name (`SIGKILL`).
    pub signal: Option<String>,
    /// When: RFC 3339, UTC.
    pub at: String,
    /// The most memory it used, in bytes; unknown where the kernel could not say.
    pub peak: Option<u64>,
    /// What failed, for `start-failed`: the step, the object and the errno in words.
    pub detail: Option<String>,
}
