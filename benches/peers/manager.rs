//! What a rival is to the harness: something that keeps jobs up, and the commands that an operator would type.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that anything may take; then the measurement is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is kept up.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name, of one manager's jobs.
    pub name: String,
    /// Its folder: the program lies in it, and no other job's.
    pub home: PathBuf,
    /// Where it listens, on the loopback interface.
    pub port: u16,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The hard memory ceiling, in bytes, where the manager has one.
    pub ceiling: Option<u64>,
    /// The user of its own, where the manager gives it one.
    pub uid: u32,
}

impl Job {
    /// The moment of its start as it says it itself; what answers with another was started anew.
    pub fn ask(&self, path: &str) -> std::io::Result<String> {
        self.ask_within(path, PATIENCE)
    }

    /// The same, of one that may wait for ever: a connection to a port that nobody accepts on.
    pub fn ask_within(&self, path: &str, time: Duration) -> std::io::Result<String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream = TcpStream::connect_timeout(&address, time)?;
        stream.set_read_timeout(Some(time))?;
        // In one piece: the small program reads once.
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") && !body.is_empty() => Ok(body.to_owned()),
            _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Waits until it answers with something else than `before`.
    pub fn answers_anew(&self, before: &str) -> String {
        let begun = Instant::now();
        loop {
            match self.ask("/") {
                Ok(born) if born != before => return born,
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not answer", self.name);
        }
    }

    /// Its processes: what was started from its folder.
    pub fn processes(&self) -> Vec<u32> {
        let home = self.home.to_str().expect("a plain path");
        processes(|_, words| words.iter().take(2).any(|word| word.contains(home)))
    }
}

/// The kinds of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
    List,
}

/// A manager that can be had here.
pub trait Peer {
    /// As the table has it.
    fn name(&self) -> &'static str;
    /// Its exact version.
    ///
    /// # Errors
    /// Why it is left out.
    fn version(&self) -> Result<String, String>;
    /// Whether it keeps programs of Node alone in this way.
    fn is_for_node(&self) -> bool {
        false
    }
    /// Whether it ends what takes more memory than it may.
    fn has_ceiling(&self) -> bool {
        false
    }
    /// A manager of its own below `root`, with nothing to do.
    fn up(&self, root: &Path) -> Box<dyn Manager>;
}

/// One that runs.
pub trait Manager {
    /// Defines the job and starts it, as its documentation says; returns once that command has.
    fn add(&mut self, job: &Job);
    /// Several, where that is quicker at once.
    fn add_all(&mut self, jobs: &[Job]) {
        jobs.iter().for_each(|job| self.add(job));
    }
    /// The command of an operator; `None` where there is none.
    fn order(&self, verb: Verb, job: &Job) -> Option<Command>;
    /// The processes that are its own: nothing of the jobs'.
    fn own(&self) -> Vec<u32>;
    /// The process that keeps all; killed, all else is seen by who survives.
    fn main(&self) -> u32;
    /// Starts it again as the host would after a crash of it.
    fn again(&mut self);
    /// What it remembers of its jobs over a boot of the host; `None` where that is files of the operator's, which it
    /// does not write.
    fn memory(&self) -> Option<PathBuf> {
        None
    }
    /// Ends as with the host, and is started as at its boot; `meanwhile` is done in between.
    fn reboot(&mut self, _meanwhile: &dyn Fn()) {}
    /// Where a job's standard output goes.
    fn log(&self, job: &Job) -> PathBuf;
    /// Ends it with all its jobs.
    fn end(&mut self);
}

/// Runs an order that must succeed; its output is for nobody but a failure.
pub fn ok(mut command: Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The first line that a program prints of itself.
///
/// # Errors
/// It could not be started, or said nothing.
pub fn first_line(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned).ok_or_else(|| format!("{command:?} says nothing"))
}

/// A manager's process, which stays in the foreground and says nothing to us.
#[derive(Default)]
pub struct Foreground(Option<Child>);

impl Foreground {
    /// Starts it; what ran before has been killed then.
    pub fn begin(&mut self, command: &mut Command) {
        self.kill();
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.0 = Some(quiet.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
    }

    pub fn id(&self) -> u32 {
        self.0.as_ref().expect("it runs").id()
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Does what makes it end, and waits for that.
    pub fn end(&mut self, tell: impl FnOnce(u32)) {
        if let Some(mut child) = self.0.take() {
            tell(child.id());
            let _ = child.wait();
        }
    }
}

/// All processes that are as `is` wants them, by pid and words.
pub fn processes(is: impl Fn(u32, &[String]) -> bool) -> Vec<u32> {
    let own = std::process::id();
    let pids = fs::read_dir("/proc").expect("there").filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<String> =
            line.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        (pid != own && is(pid, &words)).then_some(pid)
    });
    pids.collect()
}

/// All processes that descend from `top`, itself too.
pub fn descendants(top: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").expect("there").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let after = text.rsplit(") ").next().unwrap_or_default();
        let parent = after.split(' ').nth(1).and_then(|word| word.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (parent, pid)));
    }
    let (mut found, mut at) = (vec![top], 0);
    while at < found.len() {
        let next: Vec<u32> =
            parents.iter().filter(|(p, _)| *p == found[at]).map(|(_, c)| *c).collect();
        found.extend(next);
        at += 1;
    }
    found
}

/// SIGKILL to a process that the harness started, directly or by a manager.
pub fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// Another signal to it; one that has gone needs none.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    let _ = rustix::process::kill_process(pid, signal);
}
