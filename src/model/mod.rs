//! Plain data that every floor shares: names, sizes, the resolved spec, states, causes, status.
#![forbid(unsafe_code)]

mod cause;
mod deploy;
mod duration;
mod event;
mod leak;
mod logs;
mod name;
mod notify;
mod phase;
mod places;
mod sandbox;
mod security;
mod setup;
mod signal;
mod size;
mod spec;
mod status;
mod usage;
mod watch;

pub use cause::{Cause, LastExit};
pub use deploy::{DeployRules, LINK, Release, ReleaseName};
pub use duration::{format_duration, parse_duration};
pub use event::{Event, EventKind};
pub use leak::{LeakAction, LeakDoubt, LeakRules, LeakStatus, LeakVerdict};
pub use logs::{LogPart, LogPlace, LogRules, OnFull, ROOM};
pub use name::{EnvName, NameError};
pub use notify::{NOTICES, Notice, Notify, USUAL_NOTICES};
pub use phase::{Phase, Wanted};
pub use places::Places;
pub use sandbox::{Network, Peer, Sandbox, Target, Wall};
pub use security::{Stand, WallLine};
pub use setup::SetupStep;
pub use signal::StopSignal;
pub use size::{format_bytes, parse_bytes};
#[cfg(test)]
pub use spec::spec_for_tests;
pub use spec::{
    DEFAULT_PATH, EnvFile, EnvSpec, Health, Identity, Limits, OWN_VARIABLES, Port, Protocol, Ready,
    Restart, RestartPolicy, SPEC_SCHEMA, Stop, default_instance_var,
};
pub use status::{
    BlockedBy, CpuStatus, EnvironmentStatus, HostStatus, InstanceStatus, MemoryStatus, PidsStatus,
    PortLine, PortStatus, PortsDocument, RunnerStatus, STATUS_SCHEMA, StatusDocument,
};
pub use usage::{Resources, Usage, UsageSpan};
pub use watch::{IGNORED, WatchRules};
