//! `swrun status --json`: the form that scripts and dashboards rely on (INTERFACE).
//!
//! A value that could not be read is `None` and becomes `null`, never 0.

use serde::{Deserialize, Serialize};

use super::{LastExit, LeakStatus, Phase, Protocol, ReleaseName, Wanted};

/// The version of the document.
pub const STATUS_SCHEMA: u32 = 1;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// Always [`STATUS_SCHEMA`].
    pub schema: u32,
    /// The runner that answered.
    pub runner: RunnerStatus,
    /// The machine under all of them.
    #[serde(default)]
    pub host: HostStatus,
    /// All environments that were asked for, by name.
    pub environments: Vec<EnvironmentStatus>,
}

/// The runner itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerStatus {
    /// Its version.
    pub version: String,
    /// Its pid.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// `unified` or `hybrid`.
    pub cgroup: String,
    /// The version of Landlock's interface; `None`: this kernel has none, or it is off.
    pub landlock: Option<u32>,
    /// What this host lacks, a sentence each, the worst first.
    pub degraded: Vec<String>,
}

/// The host (proc_meminfo(5), proc_loadavg(5)).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Memory, in bytes.
    pub memory_total: Option<u64>,
    /// What of it a new program could get, in bytes.
    pub memory_available: Option<u64>,
    /// Processes that ran or waited for a CPU, on the average of 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// CPUs.
    pub cpus: Option<u32>,
}

/// One environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentStatus {
    /// Its name.
    pub name: String,
    /// Its target, if it has one.
    pub target: Option<String>,
    /// The user of the app.
    pub user: String,
    /// What it is.
    pub state: Phase,
    /// What it is wanted to be.
    pub wanted: Wanted,
    /// One line on why it is not as wanted, or what an operator should know.
    pub reason: Option<String>,
    /// The app's pid as the host sees it; of the first instance where there are several.
    pub pid: Option<i32>,
    /// The monitor's pid.
    pub monitor_pid: Option<u32>,
    /// All instances.
    pub instances: Vec<InstanceStatus>,
    /// Its ports.
    pub ports: Vec<PortStatus>,
    /// Who is in the way, of an environment that is `blocked`.
    pub blocked_by: Option<BlockedBy>,
    /// Restarts since `start`, wanted ones included.
    pub restarts: u32,
    /// Deaths in a row, without calm between.
    pub unstable: u32,
    /// How the last instance ended.
    pub last_exit: Option<LastExit>,
    /// Milliseconds until the next try, in backoff.
    pub next_try_ms: Option<u64>,
    /// Seconds since the oldest running instance came up.
    pub uptime_s: Option<u64>,
    /// Memory of all instances together; `max` is the ceiling times the instances.
    pub memory: MemoryStatus,
    /// CPU of the environment.
    pub cpu: CpuStatus,
    /// Processes and threads of the environment.
    pub pids: PidsStatus,
    /// The leak verdict.
    pub leak: LeakStatus,
    /// The profile was edited since the environment started.
    pub changed: bool,
    /// The environment runs on though its profile has gone.
    pub no_profile: bool,
    /// The release that runs, or that the next start is to run; none where there is no `[deploy]`.
    #[serde(default)]
    pub release: Option<ReleaseName>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Counted from 1 since the environment was made.
    pub id: u32,
    /// The app's pid as the host sees it.
    pub pid: Option<i32>,
    /// The pid of the instance's init.
    pub init_pid: Option<i32>,
    /// What it is.
    pub state: Phase,
    /// Seconds since it came up.
    pub uptime_s: Option<u64>,
    /// Its memory.
    pub memory: MemoryStatus,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// The number.
    pub port: u16,
    /// `tcp` or `udp`.
    pub proto: Protocol,
    /// `held` (its listening socket is kept over restarts), `reserved` (nobody else can bind it); on a host
    /// that cannot do that `listening` or `closed`. `None`: unknown.
    pub state: Option<String>,
}

/// Who has a port of an environment that is not its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedBy {
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub proto: Protocol,
    /// The process, as the host sees it; `None`: it could not be found.
    pub pid: Option<i32>,
    /// Its name: the program's own text.
    pub program: Option<String>,
    /// Its user.
    pub uid: Option<u32>,
    /// Its group in the cgroup v2 tree.
    pub cgroup: Option<String>,
}

impl std::fmt::Display for BlockedBy {
    /// The program's name as it is: clean it before a terminal sees it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "port {}/{} is taken by ", self.port, self.proto.word())?;
        let Some(pid) = self.pid else { return f.write_str("a process that could not be found") };
        write!(f, "\"{}\", pid {pid}", self.program.as_deref().unwrap_or("?"))?;
        if let Some(uid) = self.uid {
            write!(f, ", uid {uid}")?;
        }
        if let Some(cgroup) = &self.cgroup {
            write!(f, ", cgroup {cgroup}")?;
        }
        f.write_str("; it starts when that one has gone")
    }
}

/// `swrun ports`: a port of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortLine {
    /// Its owner.
    pub environment: String,
    /// The number.
    pub port: u16,
    /// `tcp` or `udp`.
    pub proto: Protocol,
    /// As in [`PortStatus`].
    pub state: Option<String>,
    /// A process that has the listening socket open.
    pub pid: Option<i32>,
    /// The name of that process: the program's own text.
    pub program: Option<String>,
    /// How many processes have it.
    pub processes: Option<usize>,
    /// Connections that wait to be accepted.
    pub queue: Option<u32>,
    /// How many may wait.
    pub backlog: Option<u32>,
    /// How many connections were accepted, since `accepted_since`. TCP alone.
    pub accepted: Option<u64>,
    /// When their count began, RFC 3339: the port has been reserved since then.
    pub accepted_since: Option<String>,
    /// How often somebody else was refused it, since it is reserved.
    pub refused: Option<u64>,
}

impl PortLine {
    /// What is known of a port that nobody listens on.
    #[must_use]
    pub fn idle(environment: &str, port: &PortStatus) -> Self {
        Self {
            environment: environment.to_owned(),
            port: port.port,
            proto: port.proto,
            state: port.state.clone(),
            pid: None,
            program: None,
            processes: None,
            queue: None,
            backlog: None,
            accepted: None,
            accepted_since: None,
            refused: None,
        }
    }
}

/// `swrun ports --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsDocument {
    /// The version of this form.
    pub schema: u32,
    /// By environment and port.
    pub ports: Vec<PortLine>,
}

/// Memory, in bytes, of a cgroup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryStatus {
    /// All that is charged, page cache included.
    pub current: Option<u64>,
    /// Anonymous memory.
    pub anon: Option<u64>,
    /// The soft ceiling, if set.
    pub high: Option<u64>,
    /// The ceiling.
    pub max: Option<u64>,
    /// The most there was.
    pub peak: Option<u64>,
    /// Swap in use.
    pub swap: Option<u64>,
    /// Processes that the kernel killed at the ceiling, since the environment was started.
    pub oom_kills: Option<u64>,
    /// PSI `some avg10`, in percent.
    pub pressure_avg10: Option<f64>,
}

/// CPU of an environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuStatus {
    /// Percent of one CPU since the last sample.
    pub percent: Option<f64>,
    /// The limit, in percent of one CPU.
    pub limit_percent: Option<f64>,
    /// Microseconds used since the environment was started.
    pub usage_us: Option<u64>,
    /// Microseconds that it was held back.
    pub throttled_us: Option<u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStatus {
    /// Now.
    pub current: Option<u64>,
    /// The limit.
    pub max: Option<u64>,
}
