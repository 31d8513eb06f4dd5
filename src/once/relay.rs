//! Between the operator's standard streams and the command's: bytes are copied, no descriptor is shared.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use nix::sys::signal::{SigSet, Signal};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::formats::clean::clean_into;

/// What the command gets as 0, 1 and 2.
#[derive(Debug)]
pub struct Ends {
    pub input: OwnedFd,
    pub out: OwnedFd,
    pub err: OwnedFd,
}

/// Our side.
#[derive(Debug)]
pub struct Relay {
    input: Option<File>,
    out: Option<File>,
    err: Option<File>,
    /// The terminal as it was, where the command has one of its own.
    before: Option<Termios>,
    copies: Vec<JoinHandle<()>>,
}

impl Relay {
    /// New channels: pipes, or a fresh terminal as large as the operator's.
    ///
    /// # Errors
    /// pipe(2), or openpty(3).
    pub fn new(has_terminal: bool) -> io::Result<(Self, Ends)> {
        if has_terminal {
            return Self::terminal();
        }
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (input, to_input) = pipe()?;
        let (from_out, out) = pipe()?;
        // Where both of ours go to one place (`2>&1`), what the command says stays in its order.
        let (from_err, err) = match are_one() {
            true => (None, out.try_clone()?),
            false => pipe().map(|(from, err)| (Some(from.into()), err))?,
        };
        let relay = Self {
            input: Some(to_input.into()),
            out: Some(from_out.into()),
            err: from_err,
            before: None,
            copies: Vec::new(),
        };
        Ok((relay, Ends { input, out, err }))
    }

    fn terminal() -> io::Result<(Self, Ends)> {
        use rustix::fs::{Mode, OFlags};
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(path, flags, Mode::empty())?;
        let own = rustix::stdio::stdin();
        if let Ok(size) = tcgetwinsize(own) {
            tcsetwinsize(&slave, size)?;
        }
        let relay = Self {
            input: Some(master.try_clone()?.into()),
            out: Some(master.into()),
            err: None,
            before: Some(tcgetattr(own)?),
            copies: Vec::new(),
        };
        let ends = Ends { input: slave.try_clone()?, out: slave.try_clone()?, err: slave };
        Ok((relay, ends))
    }

    /// The command runs: from here on bytes go to and fro.
    pub fn begin(&mut self) {
        if let Some(before) = &self.before {
            // Keys go to the command's terminal, which knows what they mean there.
            let mut raw = before.clone();
            raw.make_raw();
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &raw);
            if let Some(master) = self.out.as_ref().and_then(|master| master.try_clone().ok()) {
                follow_size(master);
            }
        }
        if let Some(mut to) = self.input.take() {
            // It ends with this process: a read of the operator's keys cannot be called off.
            std::thread::spawn(move || copy(&mut io::stdin(), &mut to, false));
        }
        // Text of an app never reaches a terminal of the operator's as it is, unless it is a session.
        let is_session = self.before.is_some();
        if let Some(mut from) = self.out.take() {
            let is_cleaned = !is_session && io::stdout().is_terminal();
            let copies = move || copy(&mut from, &mut io::stdout(), is_cleaned);
            self.copies.push(std::thread::spawn(copies));
        }
        if let Some(mut from) = self.err.take() {
            let is_cleaned = io::stderr().is_terminal();
            let copies = move || copy(&mut from, &mut io::stderr(), is_cleaned);
            self.copies.push(std::thread::spawn(copies));
        }
    }

    /// Everything of the command is dead: what it wrote is passed on, and the terminal is as it was.
    pub fn finish(self) {
        for copies in self.copies {
            let _ = copies.join();
        }
        if let Some(before) = self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &before);
        }
    }
}

/// Whether stdout and stderr are the same pipe or file.
fn are_one() -> bool {
    let place =
        |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|found| (found.st_dev, found.st_ino));
    let (out, err) = (place(rustix::stdio::stdout()), place(rustix::stdio::stderr()));
    out.is_ok() && out == err
}

/// Copies what comes as it comes; a terminal whose other end is closed gives EIO.
fn copy(from: &mut dyn Read, to: &mut dyn Write, is_cleaned: bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..count) else { return };
        let written = match is_cleaned {
            true => write_cleaned(bytes, to),
            false => to.write_all(bytes),
        };
        if written.and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

fn write_cleaned(bytes: &[u8], to: &mut dyn Write) -> io::Result<()> {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (text, end) = match line.strip_suffix(b"\n") {
            Some(text) => (text, "\n"),
            None => (line, ""),
        };
        let mut cleaned = String::new();
        clean_into(text, &mut cleaned);
        to.write_all(cleaned.as_bytes())?;
        to.write_all(end.as_bytes())?;
    }
    Ok(())
}

/// Keeps the command's terminal as large as the operator's.
fn follow_size(master: File) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGWINCH);
    // Blocked here, and so in the threads that follow: it waits for the one that asks for it.
    if signals.thread_block().is_err() {
        return;
    }
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
                let _ = tcsetwinsize(&master, size);
            }
        }
    });
}
