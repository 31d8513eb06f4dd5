//! Running a program of the host's: the one place where swrun starts something that is not its own.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::notify;

/// Runs `program` (found in a fixed PATH, with a clean environment) and gives what it wrote.
///
/// # Errors
/// It could not be started, or failed: its own words then.
pub fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = clean(program, arguments).output()?;
    what_it_said(program, &output)
}

/// How long a killed program may take to end; one that a hung disk holds does not end before that does.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// As [`run`], for a program that others can hold up: after `within` it is killed, and after a second more it is
/// left to itself.
///
/// # Errors
/// As [`run`], or `TimedOut`.
pub fn run_within(program: &str, arguments: &[&str], within: Duration) -> io::Result<String> {
    run_with_within(program, arguments, &[], within)
}

/// The same; it has the descriptors `keeps` under their numbers.
///
/// # Errors
/// As [`run_within`].
pub fn run_with_within(
    program: &str,
    arguments: &[&str],
    keeps: &[BorrowedFd<'_>],
    within: Duration,
) -> io::Result<String> {
    let bounds = Bounds { begins_within: None, within, most: usize::MAX, asks_first: false };
    run_bounded(program, arguments, keeps, bounds)
}

/// So much of what a program says of its failure is read, in bytes.
const MOST_ERRORS: usize = 64 << 10;

/// How far a program may go.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A while of its own until its first byte, where what stands before that is not its work: its time counts from
    /// there then.
    pub begins_within: Option<Duration>,
    /// How long it may take.
    pub within: Duration,
    /// How much it may write to stdout, in bytes.
    pub most: usize,
    /// At the end of its time SIGTERM comes before SIGKILL: it has something to clear away.
    pub asks_first: bool,
}

/// The same, within `bounds`.
///
/// # Errors
/// As [`run_within`], or `FileTooLarge` where it wrote more.
pub fn run_bounded(
    program: &str,
    arguments: &[&str],
    keeps: &[BorrowedFd<'_>],
    bounds: Bounds,
) -> io::Result<String> {
    let mut deadline = Instant::now() + bounds.begins_within.unwrap_or(bounds.within);
    let mut command = clean(program, arguments);
    keep(&mut command, keeps);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = match read_until(&mut child, &mut deadline, bounds) {
        Ok(stdout) => stdout,
        Err(error) => {
            end(&mut child, bounds.asks_first)?;
            return Err(error);
        }
    };
    let left = deadline.saturating_duration_since(Instant::now()) + KILLED_WITHIN;
    let Some(status) = wait_within(&mut child, left)? else {
        end(&mut child, bounds.asks_first)?;
        return Err(io::ErrorKind::TimedOut.into());
    };
    // A child of the child's may hold it open: what is there now is all.
    let mut stderr = vec![0; MOST_ERRORS];
    let mut count = 0;
    if let Some(pipe) = child.stderr.as_mut() {
        while count < stderr.len() && poll_until(&*pipe, Instant::now())? {
            match pipe.read(&mut stderr[count..])? {
                0 => break,
                more => count += more,
            }
        }
    }
    stderr.truncate(count);
    what_it_said(program, &Output { status, stdout, stderr })
}

/// Ends a child; one that a hung disk holds is left to itself.
fn end(child: &mut Child, asks_first: bool) -> io::Result<()> {
    // Who waits to write is not waited for.
    drop(child.stdout.take());
    if asks_first {
        rustix::process::pidfd_send_signal(process(child)?, Signal::TERM)?;
        if wait_within(child, KILLED_WITHIN)?.is_some() {
            return Ok(());
        }
    }
    // SIGKILL ends a stopped process too.
    child.kill()?;
    wait_within(child, KILLED_WITHIN).map(drop)
}

/// The status of a child that ends within that time.
fn wait_within(child: &mut Child, within: Duration) -> io::Result<Option<ExitStatus>> {
    poll_until(process(child)?, Instant::now() + within)?;
    child.try_wait()
}

/// Readable when the child has ended (pidfd_open(2)).
fn process(child: &Child) -> io::Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether something is to be read there before the deadline.
fn poll_until(descriptor: impl AsFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&left)) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The whole of a child's stdout. What it writes to stderr meanwhile waits in its pipe.
fn read_until(child: &mut Child, deadline: &mut Instant, bounds: Bounds) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(pipe) = &mut child.stdout else { return Ok(bytes) };
    let mut buffer = [0; 4096];
    loop {
        if !poll_until(&*pipe, *deadline)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let count = pipe.read(&mut buffer)?;
        if count == 0 {
            return Ok(bytes);
        }
        if bytes.len() + count > bounds.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if bytes.is_empty() && bounds.begins_within.is_some() {
            *deadline = Instant::now() + bounds.within;
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place for it")]
fn clean(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

fn what_it_said(program: &str, output: &Output) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("\"{program}\" failed ({}): {}", output.status, said.trim())))
}

/// For whom a program of an operator's is run.
#[derive(Debug)]
pub struct Restricted {
    /// Its user, not root: capabilities go with that (capabilities(7)).
    pub uid: u32,
    /// Its group, the only one.
    pub gid: u32,
    /// What it reads.
    pub stdin: File,
    /// How long it may take.
    pub within: Duration,
}

/// Runs `program` for somebody who is not root, in `/`, with a clean environment; it can become nobody else. Its words
/// go where those of this process go. `None`: it did not end in time and was killed.
///
/// # Errors
/// It could not be started.
pub fn run_restricted(
    program: &str,
    arguments: &[String],
    restricted: Restricted,
) -> io::Result<Option<ExitStatus>> {
    use std::os::unix::process::CommandExt as _;
    let Restricted { uid, gid, stdin, within } = restricted;
    if uid == 0 {
        return Err(io::Error::other("it is not run as root"));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = clean(program, &arguments);
    // Other groups are dropped with that (`Command::uid`).
    command.stdin(stdin).current_dir("/").uid(uid).gid(gid);
    // SAFETY: between fork and exec prctl(2) is allowed; nothing is allocated.
    unsafe { command.pre_exec(|| Ok(rustix::thread::set_no_new_privs(true)?)) };
    let mut child = command.spawn()?;
    let status = wait_within(&mut child, within)?;
    if status.is_none() {
        let _ = child.kill();
    }
    Ok(status)
}

/// Lets a program take this process's place for somebody who is not root and can become nobody else, with one variable;
/// returns only where that failed.
#[expect(clippy::disallowed_methods, reason = "the one place for it")]
pub fn execute_restricted(
    program: &str,
    arguments: &[OsString],
    variable: (&str, &OsStr),
    uid: u32,
    gid: u32,
) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    if uid == 0 {
        return io::Error::other("it is not run as root");
    }
    let mut command = Command::new(program);
    // Other groups are dropped with that (`Command::uid`).
    command.arg0("swrun").args(arguments).env_clear().env(variable.0, variable.1).uid(uid).gid(gid);
    // SAFETY: prctl(2) and seccomp(2) are this thread's own, and this process has no other; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            rustix::thread::set_no_new_privs(true)?;
            notify::install_silent(&NO_TYPING)
        });
    }
    command.exec()
}

/// ioctl(2) by which a process types into its terminal, for whoever reads there next: a shell of root's (TIOCSTI), or
/// pastes (TIOCLINUX, ioctl_console(2)). Those are refused, and every call of another architecture's table.
const NO_TYPING: [notify::Filter; 9] = {
    const fn instruction(code: u16, yes: u8, no: u8, value: u32) -> notify::Filter {
        notify::Filter { code, jt: yes, jf: no, k: value }
    }
    const LOAD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // Offsets in `struct seccomp_data`; AUDIT_ARCH_X86_64.
    [
        instruction(LOAD, 0, 0, 4),
        instruction(IF_EQUAL, 0, 5, 0xC000_003E),
        instruction(LOAD, 0, 0, 0),
        instruction(IF_EQUAL, 0, 4, libc::SYS_ioctl as u32),
        instruction(LOAD, 0, 0, 24),
        instruction(IF_EQUAL, 1, 0, libc::TIOCSTI as u32),
        instruction(IF_EQUAL, 0, 1, libc::TIOCLINUX as u32),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
};

/// Starts another process of swrun's own that goes on by itself: its own session, so that a Ctrl-C at this
/// terminal is not for it, and its nice(2) counts (sched(7), autogroup); its output goes to `log`. It has the descriptors `keeps` under
/// their numbers.
///
/// # Errors
/// It could not be started.
#[expect(clippy::disallowed_methods, reason = "the one place for it")]
pub fn start(
    program: &Path,
    arguments: &[&OsStr],
    log: File,
    keeps: &[BorrowedFd<'_>],
) -> io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    keep(&mut command, keeps);
    // SAFETY: between fork and exec setsid(2) is allowed (signal-safety(7)); nothing is allocated.
    unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
    command
        .arg0("swrun")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// As [`start`], of this program, with a descriptor that is readable when it has ended; its output goes where this
/// process's errors go.
///
/// # Errors
/// It could not be started or watched; then nothing runs.
pub fn start_watched(
    arguments: &[&OsStr],
    keeps: &[BorrowedFd<'_>],
) -> io::Result<(Child, OwnedFd)> {
    let log = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    watched(start("/proc/self/exe".as_ref(), arguments, log, keeps)?)
}

/// A child and a descriptor that is readable when it has ended; one that cannot be watched is ended.
fn watched(mut child: Child) -> io::Result<(Child, OwnedFd)> {
    match process(&child) {
        Ok(process) => Ok((child, process)),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// A program of swrun's own that runs, and what it says.
#[derive(Debug)]
pub struct Heard {
    /// To be reaped once it has ended.
    pub child: Child,
    /// Readable when it has ended.
    pub process: OwnedFd,
    /// Both its outputs, not blocking.
    pub said: OwnedFd,
}

/// As [`run`], without waiting: what it writes is read as it comes. A session of its own: a signal to this process's
/// group is not for it. With this process's end it is asked to end (SIGTERM).
///
/// # Errors
/// It could not be started or watched; then nothing runs.
pub fn start_heard(
    program: &str,
    arguments: &[&str],
    keeps: &[BorrowedFd<'_>],
) -> io::Result<Heard> {
    use std::os::unix::process::CommandExt as _;
    let (said, says) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&said, true)?;
    let mut command = clean(program, arguments);
    keep(&mut command, keeps);
    // SAFETY: between fork and exec setsid(2) and prctl(2) are allowed (signal-safety(7)); nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?)
        });
    }
    let (child, process) = watched(command.stdout(says.try_clone()?).stderr(says).spawn()?)?;
    Ok(Heard { child, process, said })
}

/// Lets another program take this process's place, with its own variables but for those whose names `drops`, and
/// with `adds`; returns only where that failed.
pub fn execute<'a>(
    program: &OsStr,
    arguments: impl Iterator<Item = &'a OsStr>,
    drops: impl Fn(&OsStr) -> bool,
    adds: Option<(&str, String)>,
) -> io::Error {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let variable =
        |key: &OsStr, value: &OsStr| text(&[key.as_bytes(), b"=", value.as_bytes()].concat());
    let run = || -> io::Result<std::convert::Infallible> {
        let arguments: Vec<CString> =
            arguments.map(|word| text(word.as_bytes())).collect::<io::Result<_>>()?;
        let kept = std::env::vars_os().filter(|(key, _)| !drops(key));
        let variables: Vec<CString> = kept
            .map(|(key, value)| variable(&key, &value))
            .chain(adds.iter().map(|(key, value)| variable(key.as_ref(), value.as_ref())))
            .collect::<io::Result<_>>()?;
        Ok(nix::unistd::execve(&text(program.as_bytes())?, &arguments, &variables)?)
    };
    match run() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Lets the program have `keeps`, which have to live until it is executed.
fn keep(command: &mut Command, keeps: &[BorrowedFd<'_>]) {
    use std::os::unix::process::CommandExt as _;
    let numbers: Vec<RawFd> = keeps.iter().map(AsRawFd::as_raw_fd).collect();
    if numbers.is_empty() {
        return;
    }
    // JUSTIFICATION: cleared in this process, the flag would let the descriptors into whatever another
    // thread executes meanwhile.
    // SAFETY: between fork and exec fcntl on numbers is allowed (signal-safety(7)); the numbers are open,
    // since `keeps` is borrowed until the exec has happened. Nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            for number in &numbers {
                if libc::fcntl(*number, libc::F_SETFD, 0) == -1 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_killed_and_what_ends_is_heard() {
        let long = Duration::from_secs(60);
        assert_eq!(run_within("echo", &["here"], long).expect("it ends"), "here\n");
        let failed = run_within("sh", &["-c", "echo why >&2; exit 3"], long);
        assert!(failed.is_err_and(|error| error.to_string().contains("why")));
        let begun = Instant::now();
        // Stopped: no signal but SIGKILL ends it.
        let hung = run_within("sh", &["-c", "kill -STOP $$"], Duration::from_millis(50));
        assert!(hung.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut));
        assert!(begun.elapsed() < long);
    }

    #[test]
    fn the_time_of_one_counts_from_its_first_byte() {
        let bounds = Bounds {
            begins_within: Some(Duration::from_secs(60)),
            within: Duration::from_millis(50),
            most: 10,
            asks_first: false,
        };
        let run = |script| run_bounded("sh", &["-c", script], &[], bounds);
        assert_eq!(run("sleep 0.2; echo here").expect("it ends"), "here\n");
        let late = run("echo; sleep 60");
        assert!(late.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut));
        let silent = Bounds { begins_within: Some(Duration::from_millis(50)), ..bounds };
        let late = run_bounded("sleep", &["60"], &[], silent);
        assert!(late.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut));
    }

    #[test]
    fn nothing_is_typed_into_a_terminal() {
        use std::os::unix::process::CommandExt as _;
        // /dev/null is no terminal (ENOTTY): whatever else comes is the filter's.
        let errno_of = |call: u64, is_filtered: bool| {
            let script = format!("my $x = 'x'; ioctl(STDIN, {call}, $x) or exit($!+0)");
            let mut command = clean("perl", &["-e", &script]);
            // SAFETY: as in `execute_restricted`, in a child that executes at once.
            unsafe {
                command.pre_exec(move || match is_filtered {
                    true => notify::install_silent(&NO_TYPING),
                    false => Ok(()),
                });
            }
            command.status().expect("perl").code()
        };
        for call in [libc::TIOCSTI, libc::TIOCLINUX] {
            assert_eq!(errno_of(call, false), Some(libc::ENOTTY));
            assert_eq!(errno_of(call, true), Some(libc::EPERM));
        }
        assert_eq!(errno_of(libc::TIOCGWINSZ, true), Some(libc::ENOTTY));
    }

    /// As one that a hung disk holds: to nobody here is it killed.
    #[test]
    fn what_does_not_end_is_left() {
        let mut child = clean("sleep", &["600"]).spawn().expect("sleep");
        let waited = wait_within(&mut child, Duration::from_millis(20));
        assert!(waited.is_ok_and(|status| status.is_none()));
        child.kill().expect("ours");
        let waited = wait_within(&mut child, Duration::from_secs(60));
        assert!(waited.is_ok_and(|status| status.is_some_and(|status| !status.success())));
    }
}
