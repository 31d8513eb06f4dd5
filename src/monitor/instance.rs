//! What the monitor holds of one running instance.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::budget::Budget;
use super::logs::Capture;
use super::ready::Words;
use crate::cgroup::Watch;
use crate::sys::trace::Trace;
use crate::wire::launch::Failure;

/// Descriptors and findings of one instance.
#[derive(Debug)]
pub struct Running {
    /// When it was launched.
    pub launched: Duration,
    /// Where the time of its start went.
    pub trace: Trace,
    /// Its init, as the host sees it.
    pub init_pid: i32,
    /// Its init's pidfd: readable once every process of the instance is dead.
    pub init: OwnedFd,
    /// Its mounts, held so that taking them down (the kernel waits for every CPU) does not lie between
    /// its end and the next start; dropped with its group.
    pub mounts: Option<OwnedFd>,
    /// Where init reports.
    pub report: Option<OwnedFd>,
    /// The app, once it has been executed.
    pub app: Option<OwnedFd>,
    /// Its system calls that wait for an answer; none where the kernel cannot, or no process is left that
    /// could call.
    pub calls: Option<OwnedFd>,
    /// Where it says that it is ready, if it is to.
    pub says: Option<OwnedFd>,
    /// What it has said, and whether it listens.
    pub words: Words,
    /// How many of them were refused lately.
    pub refused: Budget,
    /// How many of listen(2) were answered lately.
    pub listened: Budget,
    /// The app's pid as the host sees it.
    pub app_pid: Option<i32>,
    /// The kernel's memory events; a rehearsal has none.
    pub watch: Option<Box<dyn Watch>>,
    /// Its standard output.
    pub out: Option<Capture>,
    /// Its standard error.
    pub err: Option<Capture>,
    /// How the app ended, as init reported it.
    pub end: Option<End>,
    /// Why it could not be started.
    pub failure: Option<Failure>,
    /// When readiness is looked at next, and the pause after that.
    pub next_look: Option<(Duration, Duration)>,
    /// The ports it does not listen on yet.
    pub missing_ports: Vec<u16>,
    /// Memory is looked at then, after a soft event of the kernel.
    pub soft_look: Option<Duration>,
    /// When that was done last.
    pub last_soft_look: Duration,
    /// Killed at a breach by the monitor, where the kernel kills only one process.
    pub breached: bool,
}

impl Running {
    /// Keeps its mounts beyond its end. None where that has come already, reaped or not.
    pub fn hold_mounts(&mut self) {
        let path = format!("/proc/{}/ns/mnt", self.init_pid);
        self.mounts = std::fs::File::open(path).ok().map(OwnedFd::from);
    }

    /// SIGKILL to its init, and so to every process of the instance; one that is dead needs none.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.init, rustix::process::Signal::KILL);
    }
}

/// What is left of an instance whose end is decided.
#[derive(Debug)]
pub struct Remains {
    /// Its number, and so its cgroup.
    pub id: u32,
    /// What [`Running::mounts`] held. Its tmpfs is charged to the cgroup until it goes.
    pub mounts: Option<OwnedFd>,
}

/// How an app ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal's number.
    pub signal: Option<i32>,
}
