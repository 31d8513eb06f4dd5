//! Processes and memory that the probe makes: children are re-executions of itself, and end when
//! their parent does (their stdin is a pipe that only it holds), the daemon apart.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

const MEBIBYTE: usize = 1 << 20;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

fn itself() -> Command {
    // By the running file, not by the name: a cage may show it at another place.
    Command::new("/proc/self/exe")
}

/// Takes `mebibytes` MiB, touched, and keeps them until the process ends.
pub fn keep(mebibytes: u64) {
    for _ in 0..mebibytes {
        let step = vec![0xa5; MEBIBYTE];
        KEPT.lock().expect("nobody panics with the lock").push(step);
    }
}

/// The same at `rate` MiB a second.
pub fn grow(mebibytes: u64, rate: u64) {
    let begun = Instant::now();
    for step in 1..=mebibytes {
        keep(1);
        let due = Duration::from_secs_f64(step as f64 / rate.max(1) as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
}

/// Starts a child with `words`, waits for its first line of output, and keeps it; tells its pid.
pub fn start(words: &[&str]) -> io::Result<u32> {
    let mut child = itself().args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line)?;
    let pid = child.id();
    CHILDREN.lock().expect("nobody panics with the lock").push(child);
    Ok(pid)
}

/// Starts a process that leaves its parent, its session and its group; tells its pid. It keeps the
/// parent's stderr open, as careless daemons do: whoever reads that sees no end of it.
pub fn daemonize(file: &str) -> io::Result<String> {
    let mut middle =
        itself().args(["__middle", file]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(middle.stdout.take().expect("it is piped")).read_line(&mut line)?;
    middle.wait()?;
    Ok(line)
}

/// The step between: a session of its own, one child, gone.
pub fn middle(file: &str) -> ExitCode {
    nix::unistd::setsid().expect("a child is no group leader");
    #[expect(clippy::zombie_processes, reason = "it is to be orphaned")]
    itself().args(["__daemon", file]).spawn().expect("the daemon could not be started");
    ExitCode::SUCCESS
}

/// Blocks SIGTERM and SIGHUP, prints its pid, and adds a byte to `file` every 50 ms for ever: the
/// file grows while it lives.
pub fn daemon(file: &str) -> ExitCode {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().expect("SIGTERM can be blocked");
    let mut beats = (!file.is_empty()).then(|| {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .unwrap_or_else(|error| panic!("could not open {file:?}: {error}"))
    });
    println!("{}", std::process::id());
    loop {
        if let Some(file) = &mut beats {
            let _ = file.write_all(b".");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until stdin ends.
pub fn wait() -> ExitCode {
    let _ = io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

/// A child that holds memory: "held" once it has it.
pub fn hold(mebibytes: u64) -> ExitCode {
    keep(mebibytes);
    println!("held");
    wait()
}

/// A child that takes memory slowly: "growing" at once.
pub fn grow_and_wait(mebibytes: u64, rate: u64) -> ExitCode {
    println!("growing");
    thread::spawn(move || grow(mebibytes, rate));
    wait()
}

/// Starts threads or processes as fast as it can, up to `asked`, and tells how many it got.
pub fn storm(asked: u64, of_processes: bool) -> ExitCode {
    let (got, error) = if of_processes { storm_processes(asked) } else { storm_threads(asked) };
    println!("{}", serde_json::json!({ "asked": asked, "got": got, "error": error }));
    ExitCode::SUCCESS
}

fn storm_threads(asked: u64) -> (u64, Option<String>) {
    for got in 0..asked {
        let spawned = thread::Builder::new().stack_size(16 * 1024).spawn(|| {
            loop {
                thread::park();
            }
        });
        if let Err(error) = spawned {
            return (got, Some(error.to_string()));
        }
    }
    (asked, None)
}

fn storm_processes(asked: u64) -> (u64, Option<String>) {
    let (reader, writer) = io::pipe().expect("a pipe can be made");
    let mut children = Vec::new();
    let mut failed = None;
    while (children.len() as u64) < asked && failed.is_none() {
        let stdin = reader.try_clone().map(Stdio::from);
        match stdin.and_then(|stdin| itself().arg("__wait").stdin(stdin).spawn()) {
            Ok(child) => children.push(child),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    let got = children.len() as u64;
    drop(writer);
    for mut child in children {
        let _ = child.wait();
    }
    (got, failed)
}
