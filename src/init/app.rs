//! The app's own process: born in its cgroup, becomes the deploy user, reads `.env`, executes.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Gid, Pid, Uid, WaitOptions};
use syscalls::Sysno;

use super::{at, ready};
use crate::formats::dotenv;
use crate::model::{EnvSpec, Protocol, Ready, Wall};
use crate::privilege::{filter, identity, landlock, limits};
use crate::sys::files::read_beneath;
use crate::sys::fork::{Birth, Child, fork};
use crate::sys::trace::{Trace, TraceStep};
use crate::sys::{channel, keyring, memory, signals};
use crate::wire::launch::{Failure, Launch, Step};

/// The app's process, on its way to its exec.
#[derive(Debug)]
pub struct App {
    /// In the instance's pid namespace.
    pub pid: i32,
    /// pidfd_open(2).
    pub pidfd: OwnedFd,
    /// It waits for a byte here, until the cage stands.
    go: OwnedFd,
    /// What it says; closed by the exec.
    says: OwnedFd,
    /// Where it is to say that it is ready, over a channel of its own.
    pub says_ready: Option<OwnedFd>,
}

/// An app that was executed.
#[derive(Debug)]
pub struct Started {
    /// In the instance's pid namespace.
    pub pid: i32,
    /// pidfd_open(2).
    pub pidfd: OwnedFd,
    /// Its system calls that are the monitor's to answer, if the kernel can.
    pub calls: Option<OwnedFd>,
    /// Where the time went until its exec.
    pub steps: Vec<TraceStep>,
}

/// Starts the app's process, which becomes the user and waits; so it is ready when the cage is, where
/// there is a CPU for each.
///
/// # Errors
/// The step that failed, with its errno.
pub fn start(
    launch: &Launch<'_>,
    group: BorrowedFd<'_>,
    joins: &[OwnedFd],
) -> Result<App, Failure> {
    let (says, tell) = channel::pair().map_err(|e| Failure::new("make the app's socket", &e))?;
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(at("make the pipe of the cage"))?;
    let has_channel = launch.spec.ready == Ready::Message && !launch.rehearse;
    let channel = has_channel.then(ready::channel).transpose();
    let channel = channel.map_err(|e| Failure::new("make the channel of Node", &e))?;
    let (says_ready, theirs) = channel.unzip();
    let standard = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut descriptors: Vec<BorrowedFd<'_>> = standard.into();
    // The first behind them: see `ready::DESCRIPTOR`.
    descriptors.extend(theirs.iter().map(|theirs| theirs.as_fd()));
    descriptors.extend([tell.as_fd(), wait.as_fd()]);
    descriptors.extend(joins.iter().map(|join| join.as_fd()));
    let birth = Birth { namespaces: 0, group, descriptors: &descriptors };
    let Child { pid, pidfd } = fork(&birth, |mut given| {
        let channel = has_channel.then(|| given.remove(0));
        let (tell, wait) = (given.remove(0), given.remove(0));
        let failure = become_app(launch, &given, channel, wait, &tell).err();
        let has_failed = failure.is_some();
        if let Some(failure) = failure {
            say(&tell, &Step::Failed(failure), &[])?;
        }
        Ok(u8::from(has_failed))
    })
    .map_err(|e| Failure::new("fork the app's process", &e))?;
    Ok(App { pid, pidfd, go, says, says_ready })
}

fn say(tell: &OwnedFd, step: &Step, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    channel::send(tell.as_fd(), &serde_json::to_vec(step)?, with)
}

impl App {
    /// The cage stands: the app's process may go on. One that has failed already says so in
    /// [`await_exec`].
    pub fn enter(&self) {
        let _ = rustix::io::write(&self.go, b"0");
    }
}

/// Returns once the app has been executed or, in a rehearsal, could be.
///
/// # Errors
/// The step that failed, with its errno.
pub fn await_exec(app: App, rehearse: bool) -> Result<Started, Failure> {
    let (mut calls, mut steps) = (None, Vec::new());
    // The other end closes at the exec: silence is success.
    while let Some(message) = channel::receive(app.says.as_fd())
        .map_err(|e| Failure::new("hear the app's process", &e))?
    {
        match serde_json::from_slice(&message.bytes) {
            Ok(Step::Filtered) => calls = message.descriptors.into_iter().next(),
            Ok(Step::Traced { steps: all }) => steps = all,
            Ok(Step::Failed(failure)) => return Err(failure),
            Err(e) => return Err(Failure::new("understand the app's process", &e.into())),
        }
    }
    if rehearse && !ended_well(app.pid) {
        return Err(Failure {
            step: "try the start".to_owned(),
            why: "the process was killed; is memory-max large enough to start?".to_owned(),
            errno: None,
        });
    }
    Ok(Started { pid: app.pid, pidfd: app.pidfd, calls, steps })
}

/// Whether the process of a rehearsal came to its end.
fn ended_well(pid: i32) -> bool {
    let status = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty());
    matches!(status, Ok(Some((_, status))) if status.exit_status() == Some(0))
}

/// Returns only after a rehearsal or a failure.
#[expect(clippy::disallowed_methods, reason = "the one namespace that cannot be made at the fork")]
fn become_app(
    launch: &Launch<'_>,
    joins: &[OwnedFd],
    channel: Option<OwnedFd>,
    cage: OwnedFd,
    tell: &OwnedFd,
) -> Result<(), Failure> {
    let mut trace = Trace::begin("app");
    let spec = launch.spec;
    // The monitor's is not for it; one that goes sooner than usual already stays so.
    let _ = memory::set_oom_score(memory::USUAL);
    for join in joins {
        rustix::io::write(join, b"0").map_err(at("join the cgroup"))?;
    }
    // After it is in its cgroup: that one is the root of what it sees.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
        .map_err(|e| Failure::new("take a cgroup namespace", &e.into()))?;
    trace.did("join its groups");
    rustix::process::setsid().map_err(at("lead a session"))?;
    if rustix::termios::isatty(rustix::stdio::stdin()) {
        // A terminal of its own (swrun exec): keys are signals to this session.
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .map_err(at("take the terminal"))?;
    }
    limits::apply(&spec.limits).map_err(|e| Failure::new("set the resource limits", &e))?;
    // The pipes are made by root: `/dev/stdout` and `/dev/stderr` are opened anew by those who use them.
    let (uid, gid) = (Uid::from_raw(spec.identity.uid), Gid::from_raw(spec.identity.gid));
    rustix::fs::fchown(rustix::stdio::stdout(), Some(uid), Some(gid))
        .and_then(|()| rustix::fs::fchown(rustix::stdio::stderr(), Some(uid), Some(gid)))
        .and_then(|()| match rustix::fs::fstat(rustix::stdio::stdin()) {
            Ok(found) if rustix::fs::FileType::from_raw_mode(found.st_mode).is_fifo() => {
                rustix::fs::fchown(rustix::stdio::stdin(), Some(uid), Some(gid))
            }
            _ => Ok(()),
        })
        .map_err(at("give the pipes to the user"))?;
    identity::become_user(&spec.identity).map_err(|(step, e)| Failure::new(step, &e))?;
    keyring::leave_session().map_err(|e| Failure::new("leave the session key ring", &e))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    trace.did("become its user");
    // Now, while init builds the cage: the kernel compiles the filter for an eighth of a millisecond.
    let allowed: Vec<Sysno> =
        spec.sandbox.allow_syscalls.iter().filter_map(|name| name.parse().ok()).collect();
    let is_filtered = spec.sandbox.has(Wall::Syscalls);
    if is_filtered {
        let rules = filter::Rules { listens: launch.is_walled, allowed: &allowed };
        let calls = filter::install(rules)
            .map_err(|e| Failure::new("limit the system calls with seccomp", &e))?;
        // Where the kernel has no such notification the monitor sees that none came, and goes on without.
        if let Some(calls) = calls {
            say(tell, &Step::Filtered, &[calls.as_fd()])
                .map_err(|e| Failure::new("hand over the filter's descriptor", &e))?;
        }
    }
    trace.did("filter its system calls");
    // Up to here no path was looked up: until now there was the host's root. An init that failed to
    // build the cage closes its end, and says why itself.
    File::from(cage).read_exact(&mut [0]).map_err(|e| Failure::new("wait for the cage", &e))?;
    trace.did("wait for the cage");
    // From here on all is done with the user's own rights, inside the cage.
    let variables = super::environment::of(spec, (launch.id, launch.place), read_env_file(spec)?);
    rustix::process::chdir(&spec.cwd)
        .map_err(|e| Failure::new(format!("enter \"{}\"", spec.cwd.display()), &e.into()))?;
    let program = find_program(spec, &variables)?;
    trace.did("read its variables, find its program");
    if spec.sandbox.has(Wall::Landlock) {
        // The wall of TCP where there is no program at bind(2). Not beside it: the kernel asks Landlock
        // first, and then nobody is told of a refusal.
        let tcp = spec.ports.iter().filter(|port| port.proto == Protocol::Tcp);
        let ports: Option<Vec<u16>> =
            (!launch.is_walled).then(|| tcp.map(|port| port.port).collect());
        landlock::enter(&spec.writable, ports.as_deref())
            .map_err(|e| Failure::new("limit the files with Landlock", &e))?;
    }
    if is_filtered {
        filter::finish(&allowed).map_err(|e| Failure::new("limit the system calls", &e))?;
    }
    trace.did("limit its files, close the filter");
    // Who does not hear it hears of the exec all the same.
    let _ = say(tell, &Step::Traced { steps: trace.into_steps() }, &[]);
    if launch.rehearse {
        return Ok(());
    }
    signals::reset_for_exec().map_err(|e| Failure::new("reset the signals", &e))?;
    if let Some(channel) = channel {
        ready::leave(channel).map_err(|e| Failure::new("leave the channel of Node open", &e))?;
    }
    execute(&program, spec, &variables)
}

fn read_env_file(spec: &EnvSpec) -> Result<Vec<(String, String)>, Failure> {
    let Some(file) = &spec.env_file else { return Ok(Vec::new()) };
    let path = spec.base.join(&file.path);
    let failure = |why: io::Error| Failure::new(format!("read \"{}\"", path.display()), &why);
    match read_beneath(&spec.base, &file.path, dotenv::LONGEST as u64) {
        Err(error) if !file.required && error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failure(error)),
        Ok(bytes) => dotenv::parse(&bytes).map_err(|error| Failure {
            step: format!("read \"{}\"", path.display()),
            why: error.to_string(),
            errno: None,
        }),
    }
}

/// The program's path: as given, or found in the app's own PATH (execvp(3)).
fn find_program(spec: &EnvSpec, variables: &[CString]) -> Result<PathBuf, Failure> {
    let name = spec.command.first().map(String::as_str).unwrap_or_default();
    let is_program = |path: &Path| {
        let access = rustix::fs::access(path, rustix::fs::Access::EXEC_OK);
        access.and_then(|()| {
            if path.is_dir() { Err(rustix::io::Errno::ACCESS) } else { Ok(path.to_owned()) }
        })
    };
    let step = || format!("execute \"{name}\"");
    if name.contains('/') {
        return is_program(Path::new(name)).map_err(|e| Failure::new(step(), &e.into()));
    }
    let path = variables.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
    let mut why = rustix::io::Errno::NOENT;
    for folder in path.unwrap_or_default().split(|byte| *byte == b':') {
        match is_program(&Path::new(OsStr::from_bytes(folder)).join(name)) {
            Ok(found) => return Ok(found),
            // As execvp does: what exists and may not be executed is the better answer.
            Err(error) if error != rustix::io::Errno::NOENT => why = error,
            Err(_) => {}
        }
    }
    let mut failure = Failure::new(step(), &why.into());
    failure.why.push_str(" (looked in PATH, inside the cage)");
    Err(failure)
}

fn execute(program: &Path, spec: &EnvSpec, variables: &[CString]) -> Result<(), Failure> {
    let step = || format!("execute \"{}\"", program.display());
    let text =
        |bytes: &[u8]| CString::new(bytes).map_err(|e| Failure::new(step(), &io::Error::from(e)));
    let path = text(program.as_os_str().as_bytes())?;
    let arguments: Vec<CString> =
        spec.command.iter().map(|argument| text(argument.as_bytes())).collect::<Result<_, _>>()?;
    match nix::unistd::execve(&path, &arguments, variables) {
        Ok(never) => match never {},
        Err(error) => Err(Failure::new(step(), &error.into())),
    }
}
