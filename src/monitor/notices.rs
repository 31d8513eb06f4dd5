//! Tells somebody what happened, by the command of `[notify]`: one at a time, never waiting for it.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::MemfdFlags;
use serde::Serialize;

use super::run::Monitor;
use crate::formats::words;
use crate::model::{Event, EventKind, Notice, Notify};
use crate::policy::notices::Notices;
use crate::sys::{clock, command};
use crate::wire::tell;

/// How long the end of the monitor waits for one, in milliseconds.
const WAITED_FOR: u16 = 2_000;

/// What waits, and what is being told.
#[derive(Debug, Default)]
pub struct Telling {
    notices: Notices,
    now: Option<(Child, OwnedFd, Notice)>,
}

/// What the command reads.
#[derive(Serialize)]
struct Told<'a> {
    environment: &'a str,
    /// The kind.
    notice: &'a str,
    /// In words.
    text: String,
    /// How often it happened; what is told is the last.
    times: u64,
    #[serde(flatten)]
    event: &'a Event,
}

impl Telling {
    /// Goes on where an older program left off.
    pub fn resume(waiting: Vec<Notice>) -> Self {
        Self { notices: Notices::of(waiting), now: None }
    }

    /// What is not told yet.
    pub fn untold(&self) -> Vec<Notice> {
        self.notices.waiting().cloned().collect()
    }

    /// Readable when who tells has ended.
    pub fn source(&self) -> Option<BorrowedFd<'_>> {
        self.now.as_ref().map(|(_, process, _)| process.as_fd())
    }

    /// When something is to be told; nothing while something is.
    pub fn next_due(&self) -> Option<Duration> {
        self.notices.next_due().filter(|_| self.now.is_none())
    }

    /// Keeps an event that is to be told.
    pub fn add(&mut self, rules: Option<&Notify>, event: &Event) {
        if let (Some(rules), Some(word)) = (rules, event.kind.notice())
            && rules.events.iter().any(|chosen| chosen == word)
        {
            self.notices.add(word, event);
        }
    }
}

impl Monitor {
    /// Starts to tell what is due.
    pub(super) fn tell_if_due(&mut self) {
        if self.telling.now.is_some() {
            return;
        }
        let Some(rules) = self.spec.notify.clone() else {
            // Changed meanwhile to nobody: what waits is not told.
            self.telling.notices = Notices::default();
            return;
        };
        let Some(notice) = self.telling.notices.take(clock::monotonic()) else { return };
        match self.start_telling(&rules, &notice) {
            Ok((child, process)) => self.telling.now = Some((child, process, notice)),
            Err(error) => self.not_told(&error.to_string()),
        }
    }

    fn start_telling(&self, rules: &Notify, notice: &Notice) -> io::Result<(Child, OwnedFd)> {
        let told = Told {
            environment: self.name.as_str(),
            notice: &notice.word,
            text: format!("{}: {}", self.name, words::event(&notice.event)),
            times: notice.times,
            event: &notice.event,
        };
        let memory = rustix::fs::memfd_create("swrun-notice", MemfdFlags::CLOEXEC)?;
        let mut memory = File::from(memory);
        serde_json::to_writer(&mut memory, &told)?;
        memory.write_all(b"\n")?;
        memory.rewind()?;
        let mut arguments = vec![
            tell::ROLE.to_owned(),
            rules.uid.to_string(),
            rules.gid.to_string(),
            rules.within.as_millis().to_string(),
            memory.as_raw_fd().to_string(),
        ];
        arguments.extend_from_slice(&rules.command);
        let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        command::start_watched(&arguments, &[memory.as_fd()])
    }

    /// Takes the end of who told, and ends what it left behind.
    pub(super) fn take_told(&mut self) {
        let Some((mut child, _, _)) = self.telling.now.take() else { return };
        let group = self.base.join(tell::GROUP);
        let ended = child.try_wait();
        let _ = self.driver.kill(&group);
        match ended {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(status)) if status.code() == Some(i32::from(tell::EXIT_LATE)) => {
                let within = self.spec.notify.as_ref().map_or(0, |rules| rules.within.as_secs());
                self.not_told(&format!("its command did not end within {within} s"));
            }
            Ok(status) => {
                let status = status.map_or_else(String::new, |status| status.to_string());
                self.not_told(&format!(
                    "its command failed ({status}; its own words are in the journal)"
                ));
            }
            Err(error) => self.not_told(&error.to_string()),
        }
    }

    /// In the journal, and told to nobody: that might fail as well.
    fn not_told(&mut self, why: &str) {
        let text = format!("nobody was told by [notify]: {why}");
        self.append_event(None, EventKind::Warning { text });
    }

    /// Ends who tells; it is told once more, by whoever goes on.
    pub(super) fn interrupt_telling(&mut self) {
        let Some((mut child, _, notice)) = self.telling.now.take() else { return };
        let _ = self.driver.kill(&self.base.join(tell::GROUP));
        // A process of our own that waits for nothing.
        let _ = child.kill().and_then(|()| child.wait());
        self.telling.notices.put_back(notice);
    }

    /// The last words are waited for, a while.
    pub(super) fn end_telling(&mut self) {
        self.tell_if_due();
        let Some(process) = self.telling.source() else { return };
        let mut asked = [PollFd::new(process, PollFlags::POLLIN)];
        let _ = poll(&mut asked, PollTimeout::from(WAITED_FOR));
        if let Some((child, _, _)) = &mut self.telling.now {
            let _ = child.kill();
        }
        self.take_told();
    }
}
