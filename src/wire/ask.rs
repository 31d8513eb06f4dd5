//! Between `swrun` on the command line and the runner: JSON objects, each ended by a NUL byte
//! (the framing of Varlink), over a stream socket. One request a connection; the runner answers with
//! any number of `Progress` and then one final answer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::once::Ticket;
use super::saved::{SavedEnvironment, SavedList};
use crate::model::{
    EnvSpec, EnvironmentStatus, Event, LogPart, LogPlace, PortsDocument, ReleaseName, Resources,
    StatusDocument, UsageSpan, WallLine,
};
use crate::sys::trace::TraceStep;

/// What is asked of the runner. `targets` are names or targets of environments; none is all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "parameters", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// The state of environments. See-class.
    Status {
        /// Which.
        targets: Vec<String>,
    },
    /// All that is known of one. See-class.
    Show {
        /// Which.
        target: String,
    },
    /// What one used. See-class.
    History {
        /// Which.
        target: String,
        /// When.
        stretch: Stretch,
    },
    /// What happened. See-class.
    Events {
        /// Which.
        targets: Vec<String>,
        /// The last so many.
        count: usize,
    },
    /// What one writes to its logs: the end of it, or what came after a place. See-class.
    Logs {
        /// Which.
        target: String,
        /// Behind these places, which an answer before gave, by `out` and `err`; of one that is not named, its end.
        after: BTreeMap<String, LogPlace>,
    },
    /// Where the time of the last start went. See-class.
    Trace {
        /// Which.
        targets: Vec<String>,
    },
    /// The cage of one, for a command of an operator's. Admin-class.
    Exec {
        /// Which.
        target: String,
    },
    /// Start what is not running. Operate-class.
    Start(Order),
    /// Stop gracefully. Operate-class.
    Stop(Order),
    /// Stop, then start with the profile as it is now. Operate-class.
    Restart(Order),
    /// Replace every instance by a new one that is up, with the profile as it is now. Operate-class.
    Reload(Order),
    /// Run so many instances. Operate-class.
    Scale {
        /// Which.
        order: Order,
        /// How many.
        instances: u32,
    },
    /// Let a release take the place of the one that runs, or say what that would do. Operate-class: a name goes, never
    /// a path.
    Deploy {
        /// Which environment.
        target: String,
        /// Which release; none is the one before the one in use.
        release: Option<ReleaseName>,
        /// Nothing is done.
        dry_run: bool,
    },
    /// Empty the logs. Operate-class.
    Flush(Order),
    /// All about the ports of environments. See-class.
    Ports {
        /// Which.
        targets: Vec<String>,
    },
    /// End the process that has a port of an environment, if that is still so. Admin-class.
    Evict {
        /// Whose port.
        target: String,
        /// Which process.
        pid: i32,
    },
    /// Stop, and forget; gone for the next boot too. Admin-class.
    Delete(Order),
    /// Start an environment that has no profile file. Admin-class.
    StartAdHoc(Box<AdHoc>),
    /// The list of environments, with the profiles of those that have no file. Admin-class.
    List {},
    /// Bring one environment to what a list says. Admin-class.
    Restore(Box<SavedEnvironment>),
    /// Let the program of the runner take the place of the monitors' programs. Admin-class.
    Upgrade(Order),
    /// Let the program that is installed take the place of the runner's, if it is another. Admin-class.
    Renew {},
    /// Stop every environment, then the runner. Admin-class.
    Kill {},
}

impl Ask {
    /// Whether nothing is changed by it, and nothing told but what may be seen (`Places::see_socket`).
    #[must_use]
    pub fn only_looks(&self) -> bool {
        match self {
            Self::Status { .. }
            | Self::Show { .. }
            | Self::History { .. }
            | Self::Events { .. }
            | Self::Logs { .. }
            | Self::Ports { .. }
            | Self::Trace { .. } => true,
            Self::Exec { .. }
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::Reload(_)
            | Self::Scale { .. }
            | Self::Deploy { .. }
            | Self::Flush(_)
            | Self::Evict { .. }
            | Self::Delete(_)
            | Self::StartAdHoc(_)
            | Self::List {}
            | Self::Restore(_)
            | Self::Upgrade(_)
            | Self::Renew {}
            | Self::Kill {} => false,
        }
    }
}

/// An order to environments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Which.
    pub targets: Vec<String>,
    /// Answer when the outcome is known, or at once.
    pub wait: bool,
}

/// A time to look back at, in seconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// From then on.
    pub since: u64,
    /// Until then; `None`: until now.
    pub until: Option<u64>,
    /// By spans of so many seconds; `None`: as fine as it goes back.
    pub step_s: Option<u32>,
}

/// `swrun start PATH --name N …`: what the caller said, nothing looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdHoc {
    /// The new environment's name.
    pub name: String,
    /// Its target.
    pub target: Option<String>,
    /// Program and arguments, the interpreter already put in front.
    pub command: Vec<String>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The user, if one was named.
    pub user: Option<String>,
    /// The ports named.
    pub ports: Vec<String>,
    /// Variables named, and NODE_ENV and PORT of the caller's environment.
    pub env: Vec<(String, String)>,
    /// Answer when the outcome is known, or at once.
    pub wait: bool,
}

/// What the runner answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "parameters", rename_all = "kebab-case")]
pub enum Answer {
    /// More follows.
    Progress {
        /// About which environment.
        name: String,
        /// What happens now.
        text: String,
    },
    /// To `Status`.
    Status(Box<StatusDocument>),
    /// To `Show`.
    Show(Box<ShowDocument>),
    /// To `History`.
    History(Box<HistoryDocument>),
    /// To `Events`.
    Events(EventsDocument),
    /// To `Logs`: a part of each log that is there, by `out` and `err`.
    Logs(BTreeMap<String, LogPart>),
    /// To `Exec`.
    Exec(Box<Ticket>),
    /// To `List`.
    List(SavedList),
    /// To `Renew`.
    Renew {
        /// It is another, and takes over now.
        is_other: bool,
        /// The runner's program now: device and inode.
        program: Option<(u64, u64)>,
    },
    /// To `Ports`.
    Ports(PortsDocument),
    /// To `Trace`.
    Trace(Vec<EnvironmentTrace>),
    /// To an order: one outcome for each environment.
    Done {
        /// In the order of their names.
        outcomes: Vec<Outcome>,
    },
    /// Nothing was done.
    Refused(Refusal),
}

/// Where the time of the last start of one environment went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentTrace {
    /// The environment.
    pub name: String,
    /// In no order.
    pub steps: Vec<TraceStep>,
}

/// How an order went for one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The environment.
    pub name: String,
    /// Whether it is now as ordered.
    pub ok: bool,
    /// What was done, or why it failed and what to do.
    pub text: String,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind, for programs: `bad-request`, `not-permitted`, `unknown-environment`, `bad-profile`,
    /// `busy`, `failed`.
    pub code: String,
    /// In words.
    pub text: String,
}

/// `swrun show`: everything of one environment. The values of variables are never in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShowDocument {
    /// As in `status`.
    pub status: EnvironmentStatus,
    /// The spec it runs with, the values of its variables taken out.
    pub spec: Option<EnvSpec>,
    /// The names of the variables of `[env]`.
    pub env_keys: Vec<String>,
    /// The processes of the environment, from the app's cgroup.
    pub processes: Vec<ProcessLine>,
    /// Its cgroup, below the hierarchy's root.
    pub cgroup: Option<String>,
    /// What its cgroup says beyond the status.
    #[serde(default)]
    pub resources: Resources,
    /// The last events, oldest first.
    pub events: Vec<Event>,
    /// The walls round it.
    #[serde(default)]
    pub security: Vec<WallLine>,
    /// The folder of its logs.
    pub logs: PathBuf,
}

/// `swrun history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryDocument {
    /// The version of this form.
    pub schema: u32,
    /// Whose.
    pub environment: String,
    /// Seconds of a span.
    pub step_s: u32,
    /// The ceiling of all instances together as it is now, in bytes.
    pub memory_max: Option<u64>,
    /// Oldest first; of times when nothing ran there are none.
    pub spans: Vec<UsageSpan>,
    /// More follow the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_more: bool,
}

/// `swrun events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventsDocument {
    /// The version of this form.
    pub schema: u32,
    /// Oldest first.
    pub events: Vec<EventLine>,
}

/// What happened to whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventLine {
    /// The environment.
    pub environment: String,
    /// What and when.
    #[serde(flatten)]
    pub event: Event,
}

/// A process of an environment. Its title is the app's own text: clean it before a terminal sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLine {
    /// As the host sees it.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// Resident memory in bytes.
    pub rss: Option<u64>,
    /// The command line, shortened.
    pub title: String,
}
