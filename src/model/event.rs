//! What happened to an environment, one line each in its journal.

use serde::{Deserialize, Serialize};

use super::{BlockedBy, Cause, LeakStatus, Protocol};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When: RFC 3339, UTC.
    pub at: String,
    /// Which instance, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl EventKind {
    /// The word by which `[notify]` chooses it ([`super::NOTICES`]); `None`: it is told to nobody.
    #[must_use]
    pub fn notice(&self) -> Option<&'static str> {
        match self {
            Self::Started { .. } => Some("started"),
            Self::Ended { cause, .. } => Some(cause.word()),
            Self::GaveUp { .. } => Some("gave-up"),
            Self::Blocked(_) => Some("blocked"),
            Self::Reloaded { reason: Some(_) } => Some("reload-failed"),
            Self::Leak(_) => Some("leak"),
            Self::LinesLost { .. } => Some("lines-lost"),
            Self::Refused { .. } | Self::RefusedConnection { .. } | Self::RefusedCall { .. } => {
                Some("refused")
            }
            Self::Warning { .. } => Some("warning"),
            Self::MonitorStarted
            | Self::Upgraded { .. }
            | Self::Backoff { .. }
            | Self::Adopted { .. }
            | Self::Note { .. }
            | Self::Reloaded { reason: None } => None,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The monitor took over.
    MonitorStarted,
    /// Another version of the monitor took the place of the one before; the app went on.
    Upgraded {
        /// Of which version that was.
        from: String,
    },
    /// The app runs.
    Started {
        /// The app's pid as the host sees it.
        pid: i32,
    },
    /// The app ended.
    Ended {
        /// Why.
        cause: Cause,
        /// Exit code, unless a signal ended it.
        code: Option<i32>,
        /// The signal's name.
        signal: Option<String>,
        /// The most memory it used, in bytes.
        peak: Option<u64>,
        /// More, in words.
        detail: Option<String>,
    },
    /// The next try is due later.
    Backoff {
        /// In so many milliseconds.
        delay_ms: u64,
    },
    /// No further try.
    GaveUp {
        /// Why.
        reason: String,
    },
    /// The monitor took over listening sockets of the one before, and the connections that wait there.
    Adopted {
        /// How many.
        sockets: usize,
    },
    /// A reload has ended.
    Reloaded {
        /// Why it failed; the instances from before go on.
        reason: Option<String>,
    },
    /// It cannot be started: a port of it is somebody else's.
    Blocked(BlockedBy),
    /// A bind(2) of the environment's that was refused, or a stranger's on a port of the environment.
    Refused {
        /// What it wanted.
        port: u16,
        /// Of which protocol.
        proto: Protocol,
        /// The name of the thread: the program's own text.
        program: String,
        /// The process, as the host sees it; of several the last.
        pid: u32,
        /// Whether it is of another than this environment.
        stranger: bool,
        /// How often, since the event before.
        times: u64,
    },
    /// A connection that the environment may not make.
    RefusedConnection {
        /// Address and port.
        to: String,
        /// Of which protocol.
        proto: Protocol,
        /// The name of the thread: the program's own text.
        program: String,
        /// The process, as the host sees it; of several the last.
        pid: u32,
        /// How often, since the event before.
        times: u64,
    },
    /// A system call that the cage refused.
    RefusedCall {
        /// Its name (syscalls(2)).
        call: String,
        /// The name of the thread: the program's own text.
        program: String,
        /// The thread, as the host sees it; of several the last.
        pid: u32,
        /// How often, since the event before.
        times: u64,
    },
    /// Lines of the app that are in no log.
    LinesLost {
        /// `out` or `err`.
        stream: String,
        /// How many.
        lines: u64,
        /// Why.
        why: String,
    },
    /// The verdict on its memory got worse, or it is well again.
    Leak(LeakStatus),
    /// What is done by itself, and why.
    Note {
        /// What.
        text: String,
    },
    /// Something an operator should know.
    Warning {
        /// What.
        text: String,
    },
}
