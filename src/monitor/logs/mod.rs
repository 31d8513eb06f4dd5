//! What an app writes, on its way to the disk: captured, stamped, put aside, packed, bounded.

mod capture;
mod forward;
mod retention;
mod writer;

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{WaitId, WaitIdOptions, waitid};

pub use capture::{Capture, CaptureState, pipe};
pub use forward::Output;

use capture::{Flow, Scratch, Sink};
use forward::Forward;
use writer::{LogFile, Lost};

use crate::model::{EnvSpec, EventKind, LogRules, Places};
use crate::sys::{acl, clock, command};
use crate::wire::pack;

/// How often lines that were lost on the way to the disk are told at most: an app can make that happen hundreds of times
/// a second.
const TELL_LOSSES_EVERY: Duration = Duration::from_secs(5);

/// The same of lines that the host's own logs did not take.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What was put aside is packed so much later: most floods are over by then, and have both the disk and the CPUs to
/// themselves. One that lasts is packed beside it.
const PACKS_AFTER: Duration = Duration::from_secs(1);

/// How long a packer that was killed is waited for, in milliseconds.
const PACKER_ENDS_WITHIN: u8 = 250;

/// How long the other instances wait for the end of a line that came in pieces.
const LINE_ENDS_WITHIN: Duration = Duration::from_millis(100);

/// From one pipe, before the monitor looks what else there is: half a millisecond's work.
const READS: usize = 4;

/// The logs of an environment.
#[derive(Debug)]
pub struct Logs {
    out: LogFile,
    err: LogFile,
    scratch: Scratch,
    forward: Forward,
    folder: PathBuf,
    /// In each file at most one line that came in pieces and has not ended.
    open_lines: [Option<OpenLine>; 2],
    /// How long the end of one is awaited.
    line_ends_within: Duration,
    packer: Option<Packer>,
    /// When what was put aside is packed next.
    packs_at: Option<Duration>,
    /// It was said that nothing can be written.
    is_told: bool,
    /// Lines that were lost are not told before.
    losses_untold_until: Duration,
    /// What the host's own logs did not take is not told before.
    quiet_until: Duration,
}

/// A line that came in pieces, and whose end is awaited for a moment.
#[derive(Debug, Clone, Copy)]
struct OpenLine {
    instance: u32,
    until: Duration,
}

/// What goes over to another program in this process's place: the files it opens itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    out: Option<Lost>,
    err: Option<Lost>,
}

/// The process that packs what was put aside.
#[derive(Debug)]
struct Packer {
    child: Child,
    handle: OwnedFd,
}

impl Logs {
    /// Opens both files in `folder`; the group `readers` may read them.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn open(folder: &Path, readers: Option<u32>) -> Result<Self, String> {
        let open = |output: Output| {
            let name = format!("{}.log", output.word());
            LogFile::open(folder, &name, readers)
                .map_err(|e| format!("could not open \"{}/{name}\": {e}", folder.display()))
        };
        Ok(Self {
            out: open(Output::Out)?,
            err: open(Output::Err)?,
            scratch: Scratch::default(),
            forward: Forward::default(),
            folder: folder.to_owned(),
            open_lines: [None; 2],
            line_ends_within: LINE_ENDS_WITHIN,
            packer: None,
            packs_at: None,
            is_told: false,
            losses_untold_until: Duration::ZERO,
            quiet_until: Duration::ZERO,
        })
    }

    /// What is handed over.
    pub fn state(&self) -> State {
        State { out: self.out.lost(), err: self.err.lost() }
    }

    /// Goes on with what was handed over.
    pub fn go_on(&mut self, state: State) {
        self.out.go_on(state.out);
        self.err.go_on(state.err);
    }

    /// Takes up what the spec asks for; the app's user may read its logs.
    pub fn follow(&mut self, spec: &EnvSpec, places: &Places) {
        self.forward.follow(spec.name.as_str(), &spec.logs, places);
        let uid = spec.identity.uid;
        // A file system without access lists keeps them root's and the group's.
        let _ = File::open(&self.folder).and_then(|folder| acl::let_into(folder, uid));
        for log in [&self.out, &self.err] {
            let _ = log.let_read(uid);
        }
    }

    /// Takes what is in the pipe that woke the monitor; before it that of an instance's other output, if it rests:
    /// its lines were there first, and are to be shown so.
    pub fn pump_in_order(
        &mut self,
        out: &mut Option<Capture>,
        err: &mut Option<Capture>,
        woken: Output,
        rules: &LogRules,
    ) {
        let [first, last] = match woken {
            Output::Out => [(err, Output::Err), (out, Output::Out)],
            Output::Err => [(out, Output::Out), (err, Output::Err)],
        };
        let now = clock::monotonic();
        if first.0.as_ref().is_some_and(|capture| capture.rests_until(now).is_some()) {
            self.pump(first.0, first.1, rules);
        }
        self.pump(last.0, last.1, rules);
    }

    /// Takes what is in a pipe, or much of it; it is gone when every writer is.
    fn pump(&mut self, slot: &mut Option<Capture>, output: Output, rules: &LogRules) {
        let Some(capture) = slot else { return };
        let now = clock::monotonic();
        if self.held_until(capture, output, now).is_some() {
            return;
        }
        let was_in_line = capture.is_in_line();
        let mut flow = Flow::More;
        for _ in 0..READS {
            flow = capture.pump(&mut self.sink(output, rules));
            self.tidy_if_put_aside(rules);
            if flow != Flow::More {
                break;
            }
        }
        let open_line = &mut self.open_lines[output as usize];
        let instance = capture.instance();
        if !capture.is_in_line() {
            open_line.take_if(|open| open.instance == instance);
        } else if !was_in_line {
            // Once for a line: one without end holds nobody up for longer.
            *open_line = Some(OpenLine { instance, until: now + self.line_ends_within });
        }
        if flow == Flow::Ended {
            self.finish(slot, output, rules);
        }
    }

    /// Until when a pipe is left alone; `None`: it is to be read as soon as there is something.
    pub fn rests_until(
        &self,
        capture: &Capture,
        output: Output,
        now: Duration,
    ) -> Option<Duration> {
        capture.rests_until(now).max(self.held_until(capture, output, now))
    }

    /// The pieces of a line of another instance stand together, so long as they come together.
    fn held_until(&self, capture: &Capture, output: Output, now: Duration) -> Option<Duration> {
        self.open_lines[output as usize]
            .filter(|open| open.instance != capture.instance() && open.until > now)
            .map(|open| open.until)
    }

    /// Takes what is left in the pipe of an instance that is dead.
    pub fn finish(&mut self, slot: &mut Option<Capture>, output: Output, rules: &LogRules) {
        if let Some(capture) = slot.take() {
            self.open_lines[output as usize].take_if(|open| open.instance == capture.instance());
            capture.finish(&mut self.sink(output, rules));
            self.tidy_if_put_aside(rules);
        }
    }

    /// Removes what is too much, before more is written.
    fn tidy_if_put_aside(&mut self, rules: &LogRules) {
        let was_put_aside = [&mut self.out, &mut self.err]
            .map(|log| std::mem::take(&mut log.was_put_aside))
            .contains(&true);
        if was_put_aside && retention::tidy([self.out.path(), self.err.path()], rules) {
            self.pack_soon();
        }
    }

    fn sink<'a>(&'a mut self, output: Output, rules: &'a LogRules) -> Sink<'a> {
        let file = match output {
            Output::Out => &mut self.out,
            Output::Err => &mut self.err,
        };
        Sink { file, forward: &mut self.forward, output, rules, scratch: &mut self.scratch }
    }

    /// Empties all of them; what is written from here on is kept.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn flush(&mut self) -> Result<(), String> {
        self.end_packer();
        for log in [&mut self.out, &mut self.err] {
            log.flush()
                .map_err(|e| format!("could not empty \"{}\": {e}", log.path().display()))?;
        }
        Ok(())
    }

    /// Does what is due, and gives what is to be told.
    pub fn settle(&mut self, rules: &LogRules) -> Vec<EventKind> {
        let mut events = Vec::new();
        let now = clock::monotonic();
        for log in [&mut self.out, &mut self.err] {
            log.put_aside_if_old(rules);
        }
        // An app that loses lines all the time is not to push all else out of the journal.
        if now >= self.losses_untold_until {
            for (log, output) in [(&mut self.out, Output::Out), (&mut self.err, Output::Err)] {
                if let Some(lost) = log.take_news() {
                    let stream = output.word().to_owned();
                    events.push(EventKind::LinesLost { stream, lines: lost.lines, why: lost.why });
                }
            }
            let failing = self.out.failing().or(self.err.failing());
            if let Some(why) = failing.filter(|_| !self.is_told) {
                let text = format!("log lines are being lost, and counted: {why}");
                events.push(EventKind::Warning { text });
            }
            self.is_told = failing.is_some();
            if !events.is_empty() {
                self.losses_untold_until = now + TELL_LOSSES_EVERY;
            }
        }
        if now >= self.quiet_until {
            for (what, lines) in self.forward.take_lost() {
                self.quiet_until = now + TELL_EVERY;
                let text = format!("{lines} log lines were not taken by {what}");
                events.push(EventKind::Warning { text });
            }
        }
        self.pack(rules);
        events
    }

    /// When something is to be done next.
    pub fn next_due(&self, rules: &LogRules) -> Option<Duration> {
        let now = clock::monotonic();
        let has_news = self.out.has_news() || self.err.has_news();
        let tells = has_news.then(|| self.losses_untold_until.max(now));
        let old_at = [&self.out, &self.err].into_iter().filter_map(|log| log.old_at(rules)).min();
        let ages = old_at.map(|at| {
            let wait = Duration::from_millis(at.saturating_sub(clock::wall_millis()));
            // Where it could not be put aside it is tried again after a while.
            now + wait.max(Duration::from_secs(1))
        });
        // The end of one packer is waited for otherwise.
        let packs = self.packs_at.filter(|_| self.packer.is_none());
        tells.into_iter().chain(ages).chain(packs).min()
    }

    fn pack_soon(&mut self) {
        self.packs_at.get_or_insert_with(|| clock::monotonic() + PACKS_AFTER);
    }

    /// Has what was put aside packed, by one process at a time.
    fn pack(&mut self, rules: &LogRules) {
        self.tidy_if_put_aside(rules);
        let is_due = self.packs_at.is_some_and(|at| at <= clock::monotonic());
        if is_due && self.packer.is_none() {
            self.packs_at = None;
            // Unpacked they are read as well.
            self.packer = self.start_packer().ok();
        }
    }

    fn start_packer(&self) -> std::io::Result<Packer> {
        let arguments = [pack::ROLE.as_ref(), self.folder.as_os_str()];
        let (child, handle) = command::start_watched(&arguments, &[])?;
        Ok(Packer { child, handle })
    }

    /// Readable when the packer has ended.
    pub fn packer(&self) -> Option<BorrowedFd<'_>> {
        self.packer.as_ref().map(|packer| packer.handle.as_fd())
    }

    /// Takes its end.
    pub fn take_packer(&mut self) {
        if let Some(packer) = self.packer.take() {
            let _ = waitid(WaitId::PidFd(packer.handle.as_fd()), WaitIdOptions::EXITED);
        }
    }

    /// Ends it; what it was at is packed another time. Where the kernel does not let go of it (a disk that hangs)
    /// it ends by itself, after its present call.
    pub fn end_packer(&mut self) {
        let Some(packer) = &mut self.packer else { return };
        let _ = packer.child.kill();
        let mut asked = [PollFd::new(packer.handle.as_fd(), PollFlags::POLLIN)];
        if poll(&mut asked, PollTimeout::from(PACKER_ENDS_WITHIN)).is_ok_and(|ended| ended > 0) {
            self.take_packer();
        }
        self.pack_soon();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;
    use crate::formats::log_line::{LONGEST_TEXT, parse_line};

    #[test]
    fn what_rests_in_one_output_is_taken_before_what_comes_in_the_other() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut logs = Logs::open(folder.path(), None).expect("writable");
        let rules = LogRules::default();
        let (out, out_end) = pipe(1).expect("a pipe");
        let (err, err_end) = pipe(1).expect("a pipe");
        let (mut out, mut err) = (Some(out), Some(err));
        let (mut out_end, mut err_end) = (File::from(out_end), File::from(err_end));
        let written = |name: &str| {
            let text = fs::read(folder.path().join(name)).expect("readable");
            text.iter().filter(|byte| **byte == b'\n').count()
        };
        // However slow this machine is: one of the tries is within the rest.
        let mut was_in_rest = false;
        for lines in 0..1_000 {
            out_end.write_all(b"one\n").expect("room");
            logs.pump_in_order(&mut out, &mut err, Output::Out, &rules);
            assert_eq!(written("out.log"), 2 * lines + 1);
            out_end.write_all(b"two\n").expect("room");
            err_end.write_all(b"three\n").expect("room");
            let rests = |out: &Option<Capture>| {
                out.as_ref().is_some_and(|out| out.rests_until(clock::monotonic()).is_some())
            };
            logs.pump_in_order(&mut out, &mut err, Output::Err, &rules);
            was_in_rest = rests(&out) && written("out.log") == 2 * lines + 2;
            if was_in_rest {
                break;
            }
            logs.pump_in_order(&mut out, &mut err, Output::Out, &rules);
        }
        assert!(was_in_rest);
    }

    #[test]
    fn the_pieces_of_a_line_stand_together_if_they_come_together() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut logs = Logs::open(folder.path(), None).expect("writable");
        // However slow this machine is.
        logs.line_ends_within = Duration::from_secs(2);
        let rules = LogRules::default();
        let (one, one_end) = pipe(1).expect("a pipe");
        let (two, two_end) = pipe(2).expect("a pipe");
        let (mut one, mut two) = (Some(one), Some(two));
        let (mut one_end, mut two_end) = (File::from(one_end), File::from(two_end));
        let written = || {
            let text = fs::read(folder.path().join("out.log")).expect("readable");
            let lines = text.split_inclusive(|byte| *byte == b'\n');
            lines.map(|line| parse_line(line).expect("of the form").instance).collect::<Vec<_>>()
        };

        one_end.write_all(&vec![b'x'; LONGEST_TEXT + 9]).expect("room");
        two_end.write_all(b"another\n").expect("room");
        logs.pump(&mut one, Output::Out, &rules);
        logs.pump(&mut two, Output::Out, &rules);
        assert_eq!(written(), [1]);
        let waits = |logs: &Logs, capture: &Option<Capture>| {
            let capture = capture.as_ref().expect("it is open");
            logs.rests_until(capture, Output::Out, clock::monotonic())
        };
        let until = waits(&logs, &two).expect("it waits");
        // The other output is another file.
        let capture = two.as_ref().expect("it is open");
        assert_eq!(logs.rests_until(capture, Output::Err, clock::monotonic()), None);

        one_end.write_all(b"its end\n").expect("room");
        while waits(&logs, &one).is_some() {
            std::hint::spin_loop();
        }
        logs.pump(&mut one, Output::Out, &rules);
        logs.pump(&mut two, Output::Out, &rules);
        assert_eq!(written(), [1, 1, 2]);

        // One without end holds the others up once, for a moment.
        one_end.write_all(&vec![b'x'; LONGEST_TEXT + 9]).expect("room");
        while waits(&logs, &one).is_some() {
            std::hint::spin_loop();
        }
        logs.pump(&mut one, Output::Out, &rules);
        two_end.write_all(b"another\n").expect("room");
        let later = waits(&logs, &two).expect("it waits");
        assert!(later > until);
        while waits(&logs, &two).is_some() {
            std::hint::spin_loop();
        }
        one_end.write_all(&vec![b'x'; LONGEST_TEXT]).expect("room");
        logs.pump(&mut one, Output::Out, &rules);
        assert_eq!(waits(&logs, &two), None);
        logs.pump(&mut two, Output::Out, &rules);
        assert_eq!(written(), [1, 1, 2, 1, 1, 2]);
        // Nor does one that is dead.
        drop(one_end);
        logs.finish(&mut one, Output::Out, &rules);
        assert_eq!(written(), [1, 1, 2, 1, 1, 2, 1]);
    }
}
