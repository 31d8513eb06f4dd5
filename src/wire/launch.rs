//! Between a monitor and the init of one instance, its child.
//!
//! The monitor hands over a [`Launch`] in the memory that init has a copy of; init answers over a
//! seqpacket socket, one [`Report`] a message. A monitor that goes away is seen as the end of that
//! socket.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{EnvSpec, Wall};
use crate::sys::fork::INSTANCE_NAMESPACES;
use crate::sys::trace::TraceStep;

/// The role of init, as the monitor's child takes it; gives the status it ends with.
pub type Init = fn(&Launch<'_>, Handed) -> u8;

/// What init is to do.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The environment.
    pub spec: &'a EnvSpec,
    /// The instance's number.
    pub id: u32,
    /// Its number among the instances of the environment, from 0.
    pub place: u32,
    /// Do everything but the exec, and say whether it would have worked.
    pub rehearse: bool,
    /// What the app sees of its own cgroup: folder on the host, place in the cage.
    pub views: &'a [(PathBuf, PathBuf)],
    /// The `/etc` that it sees: the folder of all, and the one of its own.
    pub etc: (&'a Path, &'a Path),
    /// The environment's ports are walled: the monitor answers the app's listen(2).
    pub is_walled: bool,
}

impl Launch<'_> {
    /// The namespaces that the instance is born into (`CLONE_NEW…`).
    #[must_use]
    pub fn namespaces(&self) -> libc::c_int {
        let network = if self.spec.network.is_private { libc::CLONE_NEWNET } else { 0 };
        let left_out = if self.spec.sandbox.has(Wall::Ipc) { 0 } else { libc::CLONE_NEWIPC };
        (INSTANCE_NAMESPACES | network) & !left_out
    }
}

/// The descriptors that init has; 0 is /dev/null, 1 and 2 are the app's pipes.
#[derive(Debug)]
pub struct Handed {
    /// The socket for reports.
    pub report: OwnedFd,
    /// The folder of the instance's cgroup in the v2 tree.
    pub group: OwnedFd,
    /// The `tasks` files that the app writes itself into.
    pub joins: Vec<OwnedFd>,
}

/// What init says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum Report {
    /// The app has been executed; its pidfd comes with this message, and behind it, where the kernel can,
    /// the descriptor of its system calls that the monitor answers. After a rehearsal: it could be.
    Started {
        /// Where the time went, in init and in the app's process.
        #[serde(default)]
        steps: Vec<TraceStep>,
    },
    /// Where the app says that it is ready comes with this message, before that of its start.
    Says,
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

/// What the app's process says to init on its way to its exec; its silence afterwards is success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "kebab-case")]
pub enum Step {
    /// Its calls that are answered come on the descriptor that is with this message.
    Filtered,
    /// Where the time went; the exec is next.
    Traced {
        /// One after the other.
        steps: Vec<TraceStep>,
    },
    /// It could not go on.
    Failed(Failure),
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
