//! Between the runner and a monitor: JSON, one object a seqpacket message. The runner connects, asks,
//! and is told of every change without asking.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{EnvironmentStatus, LastExit, Phase, PortLine, ReleaseName};
use crate::sys::trace::TraceStep;

/// What the runner asks; `id` comes back with the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the runner.
    pub id: u64,
    /// What.
    pub request: Request,
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Measure, and say everything.
    Report,
    /// Start again what gave up or waits; the spec as it runs.
    Start,
    /// Read the spec anew, rehearse it, and only then stop and start.
    Restart,
    /// Read the spec anew, rehearse it, and replace every instance by one that is up.
    Reload,
    /// Take the number of instances from the spec.
    Scale,
    /// Say all about the ports.
    Ports,
    /// Say where the time of the last start went.
    Trace,
    /// Empty the logs.
    Flush,
    /// Let the program that is with this message take over, as soon as nothing is under way.
    Upgrade,
    /// Stop the app with its grace, then end.
    Stop,
}

/// What a monitor says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// To a call.
    Reply {
        /// The call's.
        id: u64,
        /// How it went.
        reply: Reply,
    },
    /// Something changed.
    Changed(Brief),
    /// All of it, whenever something changed or was measured anew: of hundreds of environments the runner shows this, and
    /// wakes nobody. It comes before the `Changed` of the same change.
    Standing(Box<Full>),
    /// Keep the listening socket that is with this message, for the next monitor.
    Hold {
        /// The kernel's own number of it.
        cookie: u64,
    },
    /// These are held no more.
    Release {
        /// The kernel's own numbers of them.
        cookies: Vec<u64>,
    },
}

/// How a call went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To `Report`.
    Report(Box<Full>),
    /// It is under way, from this state on; changes follow.
    Accepted(Box<Brief>),
    /// To `Flush`, and to `Upgrade` by the new program.
    Done,
    /// To `Ports`.
    Ports(Vec<PortLine>),
    /// To `Trace`.
    Trace(Vec<TraceStep>),
    /// Nothing was done.
    Failed(String),
}

/// Everything about an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Full {
    /// As `status` shows it; `wanted`, `changed` and `no_profile` are the runner's to fill in.
    pub status: EnvironmentStatus,
    /// Its group below the root of the hierarchies.
    pub cgroup: PathBuf,
    /// The digest of the profile that it runs with.
    pub profile_digest: String,
    /// When this was so, in milliseconds on the monotonic clock.
    #[serde(default)]
    pub at_ms: u64,
}

impl Full {
    /// The same `later`, on the same clock: what counts up or down goes on.
    #[must_use]
    pub fn at(&self, later: u64) -> Self {
        let passed = later.saturating_sub(self.at_ms);
        let mut full = self.clone();
        full.at_ms = self.at_ms + passed;
        let up = full.status.instances.iter_mut().map(|one| &mut one.uptime_s);
        for uptime in up.chain([&mut full.status.uptime_s]) {
            *uptime = uptime.map(|seconds| seconds + passed / 1000);
        }
        full.status.next_try_ms = full.status.next_try_ms.map(|pause| pause.saturating_sub(passed));
        full
    }

    /// Whether it says the same as `other`, but for what counts by itself.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let still = |full: &Self| {
            let mut full = full.clone();
            full.at_ms = 0;
            full.status.next_try_ms = None;
            full.status.uptime_s = None;
            full.status.instances.iter_mut().for_each(|one| one.uptime_s = None);
            full
        };
        still(self) == still(other)
    }
}

/// What an order waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    /// The environment.
    pub phase: Phase,
    /// One line on why it is not as wanted.
    pub reason: Option<String>,
    /// The last end.
    pub last_exit: Option<LastExit>,
    /// How many ends there were since the monitor started, starts that a port held up included: tells a new
    /// one from an old one.
    pub ends: u64,
    /// The app's pid, of the first instance.
    pub pid: Option<i32>,
    /// How many restarts were done.
    pub restarts: u32,
    /// How many instances are up.
    #[serde(default)]
    pub online: usize,
    /// How many there are, on their way up or down too.
    #[serde(default)]
    pub instances: usize,
    /// How many reloads have ended since the monitor started.
    #[serde(default)]
    pub reloads: u64,
    /// Why the last of them failed.
    #[serde(default)]
    pub reload_failed: Option<ReloadFailed>,
    /// The release that serves; while another is on its way the one before it.
    #[serde(default)]
    pub release: Option<ReleaseName>,
}

/// A reload that failed: what was there before goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadFailed {
    /// The new instance.
    pub instance: u32,
    /// In words.
    pub reason: String,
}
