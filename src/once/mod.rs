//! A one-shot instance: a command of an operator's in exactly the cage of an environment, in a cgroup of its own
//! below the environment's. Nothing joins the namespaces of an app that runs; the command gets no descriptor of
//! the operator's, and its terminal is a fresh one.

mod relay;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use syscalls::Sysno;

use self::relay::{Ends, Relay};
use crate::cgroup::{self, Driver};
use crate::model::{EnvSpec, Ready};
use crate::ports::{Tenant, Wall};
use crate::privilege::etc::Etc;
use crate::privilege::filter;
use crate::sys::fork::{Birth, Child, fork};
use crate::sys::{channel, notify, passed};
use crate::wire::launch::{Handed, Init, Launch, Report};
use crate::wire::once::Once;

/// It could not be done, and why is on stderr (as `env` and container runtimes have it).
const EXIT_FAILED: u8 = 125;
/// The command could not be executed.
const EXIT_NOT_EXECUTED: u8 = 126;
/// It is not there.
const EXIT_NOT_FOUND: u8 = 127;

/// Numbers of instances that no monitor counts up to.
const FIRST_ID: u32 = 1 << 30;

/// Runs the role; the instance takes that of `init`.
#[must_use]
pub fn main(init: Init) -> ExitCode {
    // What is made for the app to see is opened explicitly.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let ended = std::env::args()
        .nth(2)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| "this role is not for people: see \"swrun exec\"".to_owned())
        .and_then(|number| order(number).map_err(|e| format!("could not read the order: {e}")))
        .and_then(|once| run(once, init));
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(text) => {
            say(format_args!("swrun: {text}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Tells whoever asked; that may have gone, and what is left to clear away is cleared away all the same.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn order(number: i32) -> io::Result<Once> {
    let mut text = String::new();
    let descriptor = passed::take(&[number])?.pop().ok_or(io::ErrorKind::InvalidInput)?;
    File::from(descriptor).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn run(once: Once, init: Init) -> Result<u8, String> {
    let Once { ticket, command, terminal } = once;
    let mut spec = ticket.spec;
    spec.command = command;
    // It is no instance that anybody waits for.
    spec.ready = Ready::Ports;
    if let Some(terminal) = &terminal {
        spec.env.insert("TERM".to_owned(), terminal.clone());
    }
    let driver = cgroup::detect_own().map_err(|e| e.to_string())?;
    let before = driver.own_group().map_err(|e| e.to_string())?;
    let is_new = ticket.group.is_none() || ticket.is_new;
    let is_ours = is_new && ticket.group.is_some();
    let base = match ticket.group {
        // Beside the place of the environment, which a start or the end of a stop clears at any time.
        Some(group) if is_new => group.with_extension(format!("exec-{}", std::process::id())),
        Some(group) => group,
        None => before.clone(),
    };
    if is_new {
        driver.lead(&base, std::process::id()).map_err(|e| e.to_string())?;
        driver.prepare(&base, &spec.limits).map_err(|e| e.to_string())?;
    }
    // That of a running environment has its monitor.
    let mut tenant = match ticket.wall.filter(|_| is_new) {
        Some(wall) => Some(
            enter_wall(&wall, driver.as_ref(), &base, &spec)
                .map_err(|e| format!("could not limit its ports and connections: {e}"))?,
        ),
        None => None,
    };
    let (shared, own) = ticket.etc;
    let etc = Etc { shared, own };
    etc.renew(&spec).map_err(|e| format!("could not copy the files of /etc: {e}"))?;
    let id = FIRST_ID + std::process::id();
    let group = base.join("app").join(id.to_string());
    let started = start(driver.as_ref(), &base, &spec, &etc, id, (init, terminal.is_some()));
    let ended = started.map(Instance::until_end);
    // Grandchildren too, which may have left its session.
    let _ = driver.kill(&group);
    let code = ended.map(|(relay, code)| {
        relay.finish();
        code
    });
    let _ = driver.remove(&group);
    if let Some(tenant) = &mut tenant {
        tenant.leave();
    }
    if is_ours {
        // This process is in it, which it must leave before.
        let left = driver.join(&before, std::process::id()).and_then(|()| driver.remove(&base));
        if let Err(error) = left {
            say(format_args!("swrun: a cgroup is left behind: {error}"));
        }
    }
    code
}

/// It owns no port, and reaches what the environment does.
fn enter_wall(wall: &Path, driver: &dyn Driver, base: &Path, spec: &EnvSpec) -> io::Result<Tenant> {
    let mut tenant = Wall::find(wall)?.enter(&driver.folder(base))?;
    tenant.own(&[], &[], false)?;
    tenant.reach(&spec.network.peers, spec.network.is_declared)?;
    Ok(tenant)
}

/// What runs.
struct Instance {
    /// Its init.
    init: OwnedFd,
    report: OwnedFd,
    relay: Relay,
}

fn start(
    driver: &dyn Driver,
    base: &Path,
    spec: &EnvSpec,
    etc: &Etc,
    id: u32,
    (init, has_terminal): (Init, bool),
) -> Result<Instance, String> {
    let entry = driver.create_instance(base, id, &spec.limits).map_err(|e| e.to_string())?;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("could not {what}: {error}")
    };
    let (report, report_end) = channel::pair().map_err(failed("make the report socket"))?;
    let (relay, ends) = Relay::new(has_terminal).map_err(failed("make its channels"))?;
    let Ends { input, out, err } = &ends;
    let mut descriptors: Vec<BorrowedFd<'_>> =
        [input, out, err, &report_end, &entry.group].map(|descriptor| descriptor.as_fd()).into();
    descriptors.extend(entry.join.iter().map(|join| join.as_fd()));
    let etc = (etc.shared.as_path(), etc.own.as_path());
    let launch =
        Launch { spec, id, place: 0, rehearse: false, views: &entry.views, etc, is_walled: true };
    let birth = Birth {
        namespaces: launch.namespaces(),
        group: entry.init_group.as_fd(),
        descriptors: &descriptors,
    };
    let Child { pidfd, .. } = fork(&birth, |given| {
        let mut given = given.into_iter();
        let (Some(report), Some(group)) = (given.next(), given.next()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(init(&launch, Handed { report, group, joins: given.collect() }))
    })
    .map_err(failed("start it"))?;
    Ok(Instance { init: pidfd, report, relay })
}

impl Instance {
    /// Relays until the command has ended; gives its exit code, 128 and the signal's number, or 126.
    fn until_end(mut self) -> (Relay, u8) {
        let mut code = None;
        end_by_signals(self.init);
        while let Ok(Some(message)) = channel::receive(self.report.as_fd()) {
            match serde_json::from_slice::<Report>(&message.bytes) {
                Ok(Report::Started { .. }) => {
                    self.relay.begin();
                    // Behind the pidfd.
                    if let Some(calls) = message.descriptors.into_iter().nth(1) {
                        std::thread::spawn(move || answer(&calls));
                    }
                }
                Ok(Report::Failed(failure)) => {
                    say(format_args!("swrun: {failure}"));
                    code = Some(match failure.errno {
                        _ if !failure.step.starts_with("execute") => EXIT_FAILED,
                        Some(libc::ENOENT) => EXIT_NOT_FOUND,
                        _ => EXIT_NOT_EXECUTED,
                    });
                }
                Ok(Report::Ended { code: Some(exit), .. }) => code = Some(exit as u8),
                Ok(Report::Ended { signal, .. }) => code = Some(128 | signal.unwrap_or(0) as u8),
                Ok(Report::Says) => {}
                Err(error) => say(format_args!("swrun: could not understand init: {error}")),
            }
        }
        let code = code.unwrap_or_else(|| {
            // No report: by a signal of the operator's, or with its environment.
            say(format_args!("swrun: the command was ended: its init was killed"));
            128 | libc::SIGKILL as u8
        });
        (self.relay, code)
    }
}

/// A signal to this process ends the command, and lets the rest be done: the terminal and the group are
/// put back.
fn end_by_signals(init: OwnedFd) {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        return;
    }
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            let _ = rustix::process::pidfd_send_signal(&init, rustix::process::Signal::KILL);
        }
    });
}

/// Refuses what the cage refuses, and listen(2): ports are the running app's.
fn answer(calls: &OwnedFd) {
    loop {
        let mut polled = [rustix::event::PollFd::new(calls, rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut polled, None).is_err() {
            continue;
        }
        match notify::waiting(calls.as_fd()) {
            notify::Waiting::Ended => return,
            notify::Waiting::Nothing => {}
            notify::Waiting::Call => {
                if let Ok(Some(call)) = notify::receive(calls.as_fd()) {
                    let number = usize::try_from(call.number).ok().and_then(Sysno::new);
                    let errno = match number {
                        Some(Sysno::listen) => libc::EACCES,
                        Some(number) => filter::errno_of(number),
                        None => libc::ENOSYS,
                    };
                    let _ = notify::answer(calls.as_fd(), &call, errno);
                }
            }
        }
    }
}
