//! Between a monitor and the init of one instance.
//!
//! The monitor hands over a [`Launch`] in a sealed memfd; init answers over a seqpacket socket, one
//! [`Report`] a message. A monitor that goes away is seen as the end of that socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::EnvSpec;

/// The longest launch message, in bytes.
pub const LONGEST_LAUNCH: u64 = 256 << 10;

/// The descriptors of init, by their numbers. 0 is /dev/null; 1 and 2 are the app's pipes.
pub mod descriptor {
    use std::os::fd::RawFd;

    /// The socket for reports.
    pub const REPORT: RawFd = 3;
    /// The memfd with the [`super::Launch`].
    pub const LAUNCH: RawFd = 4;
    /// The folder of the instance's cgroup in the v2 tree.
    pub const GROUP: RawFd = 5;
    /// From here on: the `tasks` files that the app writes itself into.
    pub const FIRST_JOIN: RawFd = 6;
}

/// What init is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The environment.
    pub spec: EnvSpec,
    /// The instance's number.
    pub id: u32,
    /// Do everything but the exec, and say whether it would have worked.
    pub rehearse: bool,
    /// How many join files follow.
    pub joins: u8,
    /// What the app sees of its own cgroup: folder on the host, place in the cage.
    pub views: Vec<(PathBuf, PathBuf)>,
}

/// What init says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum Report {
    /// The app has been executed; its pidfd comes with this message. After a rehearsal: it could be.
    Started,
    /// It could not be.
    Failed(Failure),
    /// The app has ended.
    Ended {
        /// Exit code, unless a signal ended it.
        code: Option<i32>,
        /// The signal's number.
        signal: Option<i32>,
    },
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("could not {step}: {why}")]
pub struct Failure {
    /// What was being done, with the object in quotes.
    pub step: String,
    /// What the kernel said, in words.
    pub why: String,
    /// The errno, where there is one.
    pub errno: Option<i32>,
}

impl Failure {
    /// A step that failed with an error of the system.
    #[must_use]
    pub fn new(step: impl Into<String>, error: &std::io::Error) -> Self {
        Self { step: step.into(), why: error.to_string(), errno: error.raw_os_error() }
    }
}
