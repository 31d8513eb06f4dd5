//! PID 1 of an instance: sets the cage up, executes the app, reaps, and says how it ended.
//!
//! ```text
//! monitor --fork--> init ---------------------------------fork--> app: cgroup, user
//!                     |-- setup (mounts, host name) --- go --------->|-- .env, exec
//!                     |-- gives up root's capabilities               |
//!                     |<------------- exec succeeded (pipe closed) --'
//!                     '-- reports, reaps until the app ends, reports, ends
//! ```
//! Its end is the end of every process in the pid namespace, daemonised grandchildren included. It is
//! a fork of the monitor, not an exec: see `sys::fork`.

mod app;
mod environment;
mod ready;
mod reap;
mod setup;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::{Signal, set_parent_process_death_signal};

use app::Started;

use crate::model::Ready;
use crate::sys::trace::Trace;
use crate::sys::{channel, command_line};
use crate::wire::launch::{Failure, Handed, Launch, Report};

/// Runs the role, in a child of the monitor's that is PID 1 of its namespace.
#[must_use]
pub fn main(launch: &Launch<'_>, handed: Handed) -> u8 {
    let Handed { report, group, joins } = handed;
    match run(launch, &report, group, joins) {
        Ok(()) => 0,
        Err(failure) => {
            say(&report, &Report::Failed(failure), &[]);
            1
        }
    }
}

fn run(
    launch: &Launch<'_>,
    report: &OwnedFd,
    group: OwnedFd,
    joins: Vec<OwnedFd>,
) -> Result<(), Failure> {
    let mut trace = Trace::begin("init");
    // A dead monitor leaves nothing behind: the kernel kills this process, and with it all others.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("arm the death signal"))?;
    if is_closed(report) {
        return Ok(());
    }
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(at("become undumpable"))?;
    rustix::process::setsid().map_err(at("lead a session"))?;
    let mut app = app::start(launch, group.as_fd(), &joins)?;
    trace.did("fork the app's process");
    // While the app's process becomes the user.
    drop((group, joins));
    setup::cage(launch)?;
    trace.did("build the cage");
    let says = match launch.spec.ready {
        Ready::Notify if !launch.rehearse => {
            let socket = ready::socket();
            Some(socket.map_err(|e| Failure::new("make the socket of sd_notify", &e))?)
        }
        _ => app.says_ready.take(),
    };
    if let Some(says) = &says {
        say(report, &Report::Says, &[says.as_fd()]);
    }
    drop(says);
    app.enter();
    // While it goes on to its exec.
    // Only a name: without it ps shows the monitor's.
    let _ = command_line::set(c"swrun-init", &["swrun", "__init", launch.spec.name.as_str()]);
    give_up_root()?;
    trace.did("give up root");
    let Started { pid, pidfd, calls, steps } = app::await_exec(app, launch.rehearse)?;
    trace.did("wait until the app is executed");
    trace.take(steps);
    let started = Report::Started { steps: trace.into_steps() };
    if launch.rehearse {
        say(report, &started, &[]);
        return Ok(());
    }
    let descriptors: Vec<BorrowedFd<'_>> =
        std::iter::once(&pidfd).chain(&calls).map(|descriptor| descriptor.as_fd()).collect();
    say(report, &started, &descriptors);
    drop((pidfd, calls));
    let end = reap::until(pid).map_err(|e| Failure::new("wait for the app", &e))?;
    say(report, &end, &[]);
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

fn say(report: &OwnedFd, what: &Report, with: &[BorrowedFd<'_>]) {
    let Ok(bytes) = serde_json::to_vec(what) else { return };
    // A monitor that is gone cannot be told; the death signal is on its way then.
    let _ = channel::send(report.as_fd(), &bytes, with);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_that_went_before_the_death_signal_was_armed_is_seen() {
        let (monitor, report) = channel::pair().expect("a socket");
        assert!(!is_closed(&report));
        drop(monitor);
        assert!(is_closed(&report));
    }
}
