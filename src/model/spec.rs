//! The resolved spec of an environment: all that a start needs, with nothing left to look up.
//!
//! The runner makes it from a profile and writes it where the monitor reads it; nobody else writes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    DeployRules, EnvName, LeakRules, LogRules, Network, Notify, Release, Sandbox, StopSignal,
    WatchRules,
};

/// The version of the saved spec; a monitor refuses another.
pub const SPEC_SCHEMA: u32 = 1;

/// The `PATH` of an app whose profile and `.env` name none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that tell an app who and where it is, and how it reaches who started it: no file of its own says them.
pub const OWN_VARIABLES: [&str; 13] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SWRUN_ENV",
    "SWRUN_INSTANCE",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
];

/// Everything about one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSpec {
    /// Always [`SPEC_SCHEMA`] in a spec of this version.
    pub schema: u32,
    /// The environment's name.
    pub name: EnvName,
    /// The short word operators use for it (`prod`).
    pub target: Option<String>,
    /// Who the app runs as.
    pub identity: Identity,
    /// Program and arguments; a program without a slash is looked up in the app's own PATH.
    pub command: Vec<String>,
    /// The folder beneath which all that belongs to the environment lies; absolute, links resolved.
    pub base: PathBuf,
    /// The working directory; absolute, beneath `base`, may lead over links.
    pub cwd: PathBuf,
    /// Folders that the app may write; absolute, without links.
    pub writable: Vec<PathBuf>,
    /// Paths outside `base` that the app may read; absolute, without links.
    pub read_only: Vec<PathBuf>,
    /// The `.env` file, if there is to be one.
    pub env_file: Option<EnvFile>,
    /// Variables of `[env]`: they win over the `.env` file.
    pub env: BTreeMap<String, String>,
    /// The ports of the environment.
    pub ports: Vec<Port>,
    /// How many instances are wanted.
    pub instances: u32,
    /// What the app may use.
    pub limits: Limits,
    /// What happens when an instance ends by itself.
    pub restart: Restart,
    /// How an instance is asked to end.
    pub stop: Stop,
    /// Where the app answers that it is well.
    pub health: Option<Health>,
    /// Whom the app reaches.
    #[serde(default)]
    pub network: Network,
    /// What the cage lets through.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// How its logs are kept.
    #[serde(default)]
    pub logs: LogRules,
    /// What is done about a leak.
    #[serde(default)]
    pub leak: LeakRules,
    /// Who is told of what.
    #[serde(default)]
    pub notify: Option<Notify>,
    /// When an instance counts as up.
    #[serde(default)]
    pub ready: Ready,
    /// The variable that tells an instance its number among them, from 0.
    #[serde(default = "default_instance_var")]
    pub instance_var: String,
    /// When it is restarted in any case: a line of a crontab.
    #[serde(default)]
    pub cron: Option<String>,
    /// Files whose change restarts it.
    #[serde(default)]
    pub watch: Option<WatchRules>,
    /// How releases of it are put in place.
    #[serde(default)]
    pub deploy: Option<DeployRules>,
    /// The release that is shown at `cwd`; always one where there is `deploy`.
    #[serde(default)]
    pub release: Option<Release>,
    /// Start at boot, for an environment never seen before.
    pub autostart: bool,
    /// A digest of the profile's text, to tell that the file was edited since.
    pub profile_digest: String,
}

impl EnvSpec {
    /// The folder of the release that is shown at `cwd`, below `base`.
    #[must_use]
    pub fn release_folder(&self) -> Option<PathBuf> {
        let (deploy, release) = (self.deploy.as_ref()?, self.release.as_ref()?);
        Some(deploy.releases.join(release.name.as_str()))
    }
}

/// The variable by which PM2's apps know it.
#[must_use]
pub fn default_instance_var() -> String {
    "NODE_APP_INSTANCE".to_owned()
}

/// When an instance counts as up: always once it listens on the ports of its environment, and where that is asked for
/// once it has said so, or answered, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// It listens.
    #[default]
    Ports,
    /// It has said `process.send("ready")`, over the channel that Node gives to children (child_process, "Advanced
    /// serialization" off: a line of JSON each).
    Message,
    /// It has said `READY=1` (sd_notify(3)).
    Notify,
    /// The address of `[health]` has answered.
    Health,
}

/// Users and groups, looked up once by the runner (no name service is asked in a cage).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user's name; for a user without an entry in the user database its number.
    pub user: String,
    /// User id; never 0.
    pub uid: u32,
    /// Primary group id; never 0.
    pub gid: u32,
    /// Supplementary groups, set exactly.
    pub groups: Vec<u32>,
    /// The home folder, for `HOME` (it is not visible in the cage unless it lies in `base`).
    pub home: PathBuf,
}

/// Where the `.env` file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFile {
    /// Relative to the spec's `base`.
    pub path: PathBuf,
    /// A file named in the profile must be there; the default `.env` in `cwd` may be missing.
    pub required: bool,
}

/// A port of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// 1 to 65535.
    pub port: u16,
    /// Of which protocol.
    pub proto: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP (MPTCP included).
    Tcp,
    /// UDP (UDP-Lite included).
    Udp,
}

impl Protocol {
    /// As profiles and JSON have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The ceiling of each instance, in bytes.
    pub memory_max: u64,
    /// The soft ceiling, in bytes of memory that cannot be reclaimed.
    pub memory_high: Option<u64>,
    /// In percent of one CPU, for the environment.
    pub cpu_percent: Option<u32>,
    /// Processes and threads of the environment.
    pub pids: u32,
    /// `RLIMIT_NOFILE` of the app, soft and hard.
    pub open_files: u64,
}

/// `[restart]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// After which ends there is a restart.
    pub policy: RestartPolicy,
    /// The pause before the first restart.
    pub first_delay: Duration,
    /// What the pause grows to.
    pub max_delay: Duration,
    /// Deaths within `within` after which it gives up; 0 is never.
    pub give_up_after: u32,
    /// The window of `give_up_after`.
    pub within: Duration,
}

/// After which ends an instance is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After every end.
    Always,
    /// After every end but exit code 0.
    OnFailure,
    /// After none.
    Never,
}

/// `[stop]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// What the app's main process is sent.
    pub signal: StopSignal,
    /// How long it has before the whole cgroup is killed.
    pub grace: Duration,
}

/// `[health]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// An `http://` address on this machine.
    pub http: String,
}

/// A spec as tests want it: every limit set, nothing that the host must have.
#[cfg(test)]
#[must_use]
pub fn spec_for_tests(name: &str) -> EnvSpec {
    EnvSpec {
        schema: SPEC_SCHEMA,
        name: EnvName::parse(name).expect("a good name"),
        target: None,
        identity: Identity {
            user: "61001".into(),
            uid: 61001,
            gid: 61001,
            groups: Vec::new(),
            home: PathBuf::from("/srv/app"),
        },
        command: vec!["/bin/true".into()],
        base: "/srv/app".into(),
        cwd: "/srv/app".into(),
        writable: Vec::new(),
        read_only: Vec::new(),
        env_file: None,
        env: BTreeMap::new(),
        ports: Vec::new(),
        instances: 1,
        limits: Limits {
            memory_max: 64 << 20,
            memory_high: None,
            cpu_percent: None,
            pids: 64,
            open_files: 1024,
        },
        restart: Restart {
            policy: RestartPolicy::Always,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            give_up_after: 0,
            within: Duration::from_secs(60),
        },
        stop: Stop { signal: StopSignal::TERM, grace: Duration::from_secs(10) },
        health: None,
        network: Network::default(),
        sandbox: Sandbox::default(),
        logs: LogRules::default(),
        leak: LeakRules::default(),
        notify: None,
        ready: Ready::Ports,
        instance_var: default_instance_var(),
        cron: None,
        watch: None,
        deploy: None,
        release: None,
        autostart: true,
        profile_digest: String::new(),
    }
}
