//! PID 1 of an instance: sets the cage up, executes the app, reaps, and says how it ended.
//!
//! ```text
//! monitor --clone3--> init: setup (mounts, host name) --fork--> app: user, .env, exec
//!                       |<------------- exec succeeded (pipe closed) ----'
//!                       '-- gives up root's capabilities, reaps until the app ends, reports, ends
//! ```
//! Its end is the end of every process in the pid namespace, daemonised grandchildren included.

mod app;
mod environment;
mod reap;
mod setup;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::sys::{channel, descriptors, memfd};
use crate::wire::launch::{Failure, LONGEST_LAUNCH, Launch, Report, descriptor};

/// The hidden role's word.
pub const ROLE: &str = "__init";

/// Runs the role; the monitor hands over all it needs by descriptors.
#[must_use]
pub fn main() -> ExitCode {
    let Ok(report) = descriptors::inherited(descriptor::REPORT) else {
        return ExitCode::from(2);
    };
    match run(&report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&report, &Report::Failed(failure), None);
            ExitCode::FAILURE
        }
    }
}

fn run(report: &OwnedFd) -> Result<(), Failure> {
    // A dead monitor leaves nothing behind: the kernel kills this process, and with it all others.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("arm the death signal"))?;
    if is_closed(report) {
        return Ok(());
    }
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(at("become undumpable"))?;
    let launch = descriptors::inherited(descriptor::LAUNCH)
        .and_then(|memfd| memfd::read_sealed(memfd, LONGEST_LAUNCH))
        .map_err(|e| Failure::new("read the launch message", &e))?;
    let launch: Launch = serde_json::from_slice(&launch)
        .map_err(|e| Failure::new("understand the launch message", &e.into()))?;
    let group = descriptors::inherited(descriptor::GROUP)
        .map_err(|e| Failure::new("take the cgroup", &e))?;
    let joins: Vec<OwnedFd> = (0..i32::from(launch.joins))
        .map(|n| descriptors::inherited(descriptor::FIRST_JOIN + n))
        .collect::<io::Result<_>>()
        .map_err(|e| Failure::new("take the cgroup files", &e))?;

    setup::cage(&launch)?;
    let app = app::start(&launch, group.as_fd(), joins)?;
    drop(group);
    if launch.rehearse {
        say(report, &Report::Started, None);
        return Ok(());
    }
    say(report, &Report::Started, Some(&app.pidfd));
    give_up_root()?;
    drop(launch);
    let end = reap::until(app.pid).map_err(|e| Failure::new("wait for the app", &e))?;
    say(report, &end, None);
    Ok(())
}

/// What is left is a process that waits: no capability, and none of the app's pipes, whose end the
/// monitor must see when the app's processes are gone.
fn give_up_root() -> Result<(), Failure> {
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(at("open \"/dev/null\""))?;
    rustix::stdio::dup2_stdout(&null)
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .map_err(at("let go of the pipes"))?;
    crate::privilege::identity::keep_no_capability()
        .map_err(|(step, error)| Failure::new(step, &error))
}

fn say(report: &OwnedFd, what: &Report, with: Option<&OwnedFd>) {
    let Ok(bytes) = serde_json::to_vec(what) else { return };
    // A monitor that is gone cannot be told; the death signal is on its way then.
    let _ = channel::send(report.as_fd(), &bytes, with.map(|descriptor| descriptor.as_fd()));
}

fn is_closed(report: &OwnedFd) -> bool {
    let mut polled = [rustix::event::PollFd::new(report, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = rustix::event::poll(&mut polled, Some(&now));
    polled[0].revents().contains(rustix::event::PollFlags::HUP)
}

fn at(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> Failure {
    move |error| Failure::new(step, &error.into())
}
