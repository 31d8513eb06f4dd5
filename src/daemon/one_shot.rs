//! A command of an order's own in the cage of an environment: by the role `once`, as `swrun exec` has it, without a
//! terminal and within a time.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::Child;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

use super::entry::Entry;
use super::registry::Runner;
use super::show::ticket_of;
use crate::model::{EnvSpec, format_duration};
use crate::sys::command::{self, Heard};
use crate::sys::readiness;
use crate::wire::once::{self, Once, ROLE, SCOPE};

/// So many of its last lines are told when it fails, and so much of each, in bytes.
const LINES: usize = 10;
const LONGEST_LINE: usize = 1000;

/// After so much at once, in bytes, it is left alone for a while: a thousand kilobytes a second are enough for words.
const BURST: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(50);

/// How long the role may take to clear away what it made, once it is told to end.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

/// A command, and how long it may take.
#[derive(Debug)]
pub struct Command {
    pub words: Vec<String>,
    pub within: Duration,
}

/// Runs `command` in the cage of `spec`; every line that it writes is told as it comes.
///
/// # Errors
/// It failed, in words that end with its last lines; it took too long; its environment was ordered to stop.
pub async fn run(
    runner: &Runner,
    entry: &Entry,
    spec: EnvSpec,
    command: Command,
    mut tell: impl AsyncFnMut(String),
) -> Result<(), String> {
    let shown = command.words.join(" ");
    let mut running = Running::start(runner, entry, spec, command.words)
        .map_err(|e| format!("\"{shown}\" could not be run: {e}"))?;
    let mut last = VecDeque::new();
    let read = async {
        while let Some(line) = running.line().await {
            if last.len() == LINES {
                last.pop_front();
            }
            last.push_back(line.clone());
            tell(line).await;
        }
    };
    let cut_short = tokio::select! {
        () = read => None,
        () = tokio::time::sleep(command.within) => {
            Some(format!("did not end within {}", format_duration(command.within)))
        }
        () = entry.cancel.notified() => {
            Some("was ended: its environment was ordered to stop".to_owned())
        }
    };
    let status = running.end(cut_short.is_some()).await;
    let how = match (cut_short, status) {
        (Some(how), _) => how,
        (None, Ok(Some(0))) => return Ok(()),
        (None, Ok(Some(code))) => format!("ended with code {code}"),
        (None, Ok(None)) => "was killed".to_owned(),
        (None, Err(error)) => format!("could not be waited for: {error}"),
    };
    let said: String = last.iter().flat_map(|line| ["\n  ", line]).collect();
    Err(format!("\"{shown}\" {how}{said}"))
}

struct Running {
    child: Child,
    process: OwnedFd,
    /// None once nobody listens any more.
    said: Option<AsyncFd<OwnedFd>>,
    /// How much was read since the last pause, in bytes.
    burst: usize,
    /// What was read and is not told yet.
    rest: Vec<u8>,
}

impl Running {
    fn start(
        runner: &Runner,
        entry: &Entry,
        spec: EnvSpec,
        words: Vec<String>,
    ) -> io::Result<Self> {
        let ticket = ticket_of(runner, entry, spec);
        let by_systemd = ticket.group.is_none();
        let order =
            once::order(&Once { ticket, command: words, terminal: None }, MemfdFlags::CLOEXEC)?;
        // This program, whatever is installed meanwhile, also where another starts it.
        let program = format!("/proc/{}/exe", std::process::id());
        let number = order.as_raw_fd().to_string();
        let mut line = if by_systemd { SCOPE.to_vec() } else { Vec::new() };
        line.extend([program.as_str(), ROLE, &number]);
        let Heard { child, process, said } =
            command::start_heard(line[0], &line[1..], &[order.as_fd()])?;
        let said = Some(readiness::watch(said)?);
        Ok(Self { child, process, said, burst: 0, rest: Vec::new() })
    }

    /// The next line, cut to its bound; `None` once nobody can write any more.
    async fn line(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        loop {
            let end = self.rest.iter().position(|byte| *byte == b'\n');
            if let Some(end) = end.or(Some(self.rest.len()).filter(|all| *all >= LONGEST_LINE)) {
                let line: Vec<u8> = self.rest.drain(..end).collect();
                if self.rest.first() == Some(&b'\n') {
                    self.rest.remove(0);
                }
                let line = &line[..line.len().min(LONGEST_LINE)];
                return Some(String::from_utf8_lossy(line).trim_end().to_owned());
            }
            if self.burst > BURST {
                // It waits, not the runner: others are to be heard too.
                self.burst = 0;
                tokio::time::sleep(PAUSE).await;
            }
            let mut guard = self.said.as_ref()?.readable().await.ok()?;
            match guard.try_io(|said| Ok(rustix::io::read(said.get_ref(), &mut buffer)?)) {
                Ok(Ok(count @ 1..)) => {
                    self.burst += count;
                    self.rest.extend_from_slice(&buffer[..count]);
                }
                Ok(_) if self.rest.is_empty() => return None,
                Ok(_) => self.rest.push(b'\n'),
                Err(_would_block) => {}
            }
        }
    }

    /// Its exit code, once it has ended; `None` where a signal ended it.
    async fn end(&mut self, is_cut_short: bool) -> io::Result<Option<i32>> {
        // What it has still to say goes nowhere: else it would wait for its words to be read.
        self.said = None;
        let ended = readiness::watch(self.process.try_clone()?)?;
        if is_cut_short {
            pidfd_send_signal(&self.process, Signal::TERM)?;
            if tokio::time::timeout(CLEARED_WITHIN, ended.readable()).await.is_err() {
                pidfd_send_signal(&self.process, Signal::KILL)?;
            }
        }
        ended.readable().await.map(drop)?;
        Ok(self.child.wait()?.code())
    }
}
