//! How the logs of an environment are kept: `[logs]` of its profile.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[logs]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogRules {
    /// A file of this size is put aside and a new one begun, in bytes.
    pub rotate_size: u64,
    /// A file whose first line is older is put aside too.
    pub rotate_age: Option<Duration>,
    /// How many files of each of the two outputs are kept beside the one that is written.
    pub keep: u32,
    /// What all files together may take, in bytes: the oldest go first.
    pub total_max: u64,
    /// What happens when the app writes faster than its lines are kept.
    pub on_full: OnFull,
    /// Every line goes to the host's journal too.
    pub journald: bool,
    /// Every line goes to the host's syslog too.
    pub syslog: bool,
}

/// `on-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// The app waits.
    Block,
    /// Lines are dropped, and counted.
    Drop,
}

/// How many files may be about at once that retention does not count as kept: the two that are written, and one
/// that is being packed.
pub const ROOM: u64 = 3;

impl Default for LogRules {
    fn default() -> Self {
        Self {
            rotate_size: 16 << 20,
            rotate_age: Some(Duration::from_secs(24 * 3600)),
            keep: 30,
            total_max: 256 << 20,
            on_full: OnFull::Block,
            journald: false,
            syslog: false,
        }
    }
}

/// Where in a log somebody has read to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPlace {
    /// Its file: device and inode.
    pub file: (u64, u64),
    /// So many bytes of that are read.
    pub offset: u64,
    /// A checksum of how the file begins: device and inode of one that was removed are given again.
    pub head: u32,
}

/// A part of a log, whole lines as swrun-log(5) has them. What the app wrote is hostile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    /// Behind it.
    pub place: LogPlace,
    /// The lines; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// There were others before it, which are not told.
    pub skipped: bool,
    /// There is more already.
    pub has_more: bool,
}
