//! Resource limits of the app that are no cgroup's (setrlimit(2)).

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::model::Limits;

/// Sets them, soft and hard; they can only be lowered from here on.
///
/// # Errors
/// setrlimit(2): raising the hard limit needs CAP_SYS_RESOURCE.
pub fn apply(limits: &Limits) -> io::Result<()> {
    let both = |value| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::Nofile, both(limits.open_files))?;
    // 1, not 0: a core handler behind a pipe is run as root on the host even at 0 (core(5)); exactly
    // 1 stops it.
    setrlimit(Resource::Core, both(1))?;
    // Whatever whoever started the runner was given: no real-time priority, no better one than it has.
    setrlimit(Resource::Rtprio, both(0))?;
    setrlimit(Resource::Nice, both(0))?;
    Ok(())
}
