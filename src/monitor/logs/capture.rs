//! Captures what an app writes: whole lines, stamped. The app never has the files, only pipes.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};

use super::forward::{Forward, Output};
use super::writer::LogFile;
use crate::formats::log_line::{LONGEST_TEXT, Piece, Stamp};
use crate::model::{LogRules, OnFull};
use crate::monitor::handover::one;
use crate::sys::clock;

/// What a pipe holds while the monitor is busy, in bytes: the most that the kernel allows without
/// CAP_SYS_RESOURCE (pipe(7)). A crash loses nothing of it.
const PIPE_BYTES: usize = 1 << 20;
/// At once: larger writes into the file cost the kernel less.
const READ_BYTES: usize = 128 << 10;

/// With `on-full = "drop"` lines are dropped from here on, since the app is about to wait: a pipe is full when its
/// pages are, and each may be little more than half used.
const NEARLY_FULL: u64 = PIPE_BYTES as u64 / 2;

/// After a read of less than this the pipe is left alone for a moment: it has room for a thousand such.
const SMALL_READ: usize = 16 << 10;
const REST: Duration = Duration::from_millis(1);

/// Why they are.
const TOO_FAST: &str = "the app wrote faster than they could be kept";

/// The most that is written at once, in bytes: files keep their bound.
const WRITE_BYTES: usize = 256 << 10;

/// And until so little is left.
const NEARLY_EMPTY: u64 = PIPE_BYTES as u64 / 8;

/// The reading end of a pipe, and the line that is not whole yet.
#[derive(Debug)]
pub struct Capture {
    pipe: File,
    instance: u32,
    partial: Vec<u8>,
    /// A piece of it is in the file already.
    is_in_line: bool,
    /// Lines are dropped, the rest of this one too.
    is_dropping: bool,
    /// Not read before: an app that writes line by line would wake the monitor for each.
    rests_until: Duration,
}

/// What goes over to another program in this process's place.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureState {
    pipe: RawFd,
    instance: u32,
    partial: Vec<u8>,
    #[serde(default)]
    is_in_line: bool,
    is_dropping: bool,
}

/// A new pipe: the capturing end, and the end for the app.
///
/// # Errors
/// pipe2(2).
pub fn pipe(instance: u32) -> io::Result<(Capture, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // The app's end stays blocking: nonblocking is a property of each end's own description.
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    // A smaller pipe still works.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES);
    let capture = Capture {
        pipe: read.into(),
        instance,
        partial: Vec::new(),
        is_in_line: false,
        is_dropping: false,
        rests_until: Duration::ZERO,
    };
    Ok((capture, write))
}

/// Whether more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Nothing more now.
    Waits,
    /// More is there now.
    More,
    /// Every writer has gone.
    Ended,
}

/// Where lines go.
#[derive(Debug)]
pub struct Sink<'a> {
    /// The file.
    pub file: &'a mut LogFile,
    /// The host's own logs.
    pub forward: &'a mut Forward,
    /// Which of the two outputs of the app.
    pub output: Output,
    /// How they are kept.
    pub rules: &'a LogRules,
    /// Shared by all captures.
    pub scratch: &'a mut Scratch,
}

impl Capture {
    /// What is handed over; `number` hears of the descriptor.
    pub fn state(&self, number: &mut impl FnMut(BorrowedFd<'_>) -> RawFd) -> CaptureState {
        CaptureState {
            pipe: number(self.pipe.as_fd()),
            instance: self.instance,
            partial: self.partial.clone(),
            is_in_line: self.is_in_line,
            is_dropping: self.is_dropping,
        }
    }

    /// Goes on with what was handed over.
    ///
    /// # Errors
    /// The descriptor is not there.
    pub fn resume(state: CaptureState) -> io::Result<Self> {
        let CaptureState { pipe, instance, partial, is_in_line, is_dropping } = state;
        let (pipe, rests_until) = (one(pipe)?.into(), Duration::ZERO);
        Ok(Self { pipe, instance, partial, is_in_line, is_dropping, rests_until })
    }

    /// Reads once and writes the whole lines.
    pub fn pump(&mut self, sink: &mut Sink<'_>) -> Flow {
        if sink.rules.on_full == OnFull::Drop {
            self.drop_if_full();
        }
        self.read(sink)
    }

    fn read(&mut self, sink: &mut Sink<'_>) -> Flow {
        let count = match self.pipe.read(&mut sink.scratch.read) {
            Ok(0) => return Flow::Ended,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flow::Waits,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Flow::More,
            Err(_) => return Flow::Ended,
        };
        let flow = if count == READ_BYTES { Flow::More } else { Flow::Waits };
        if count < SMALL_READ {
            self.rests_until = clock::monotonic() + REST;
        }
        let Scratch { read, lines } = &mut *sink.scratch;
        lines.clear();
        let mut rest = &read[..count];
        if self.is_dropping {
            let newlines = memchr::memchr_iter(b'\n', rest).count();
            sink.file.lose(newlines as u64, TOO_FAST);
            // What begins in what was dropped goes with it.
            self.is_dropping = match memchr::memrchr(b'\n', rest) {
                Some(end) if waiting(&self.pipe) < NEARLY_EMPTY => {
                    rest = &rest[end + 1..];
                    false
                }
                _ => return flow,
            };
        }
        let stamp = Stamp::new(clock::wall_millis(), self.instance);
        let (file, rules) = (&mut *sink.file, sink.rules);
        let forward = &mut *sink.forward;
        let mut taken = Taken { lines, count: 0, file, rules, forward, output: sink.output, stamp };
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.partial.is_empty() && line.len() <= LONGEST_TEXT {
                taken.add(Piece::Whole, line);
                continue;
            }
            self.take(line, &mut taken);
            taken.add(Piece::Whole, &self.partial);
            self.partial.clear();
            self.is_in_line = false;
        }
        self.take(rest, &mut taken);
        taken.write();
        flow
    }

    /// The instance that writes.
    pub fn instance(&self) -> u32 {
        self.instance
    }

    /// Whether the file has a piece of a line whose end has not come.
    pub fn is_in_line(&self) -> bool {
        self.is_in_line
    }

    /// Until when it is left alone; `None`: it is to be read as soon as there is something.
    pub fn rests_until(&self, now: Duration) -> Option<Duration> {
        Some(self.rests_until).filter(|until| *until > now)
    }

    /// Adds text to the line that is not whole, cutting off pieces of the longest size.
    fn take(&mut self, mut text: &[u8], taken: &mut Taken<'_>) {
        while self.partial.len() + text.len() > LONGEST_TEXT {
            let (head, tail) = text.split_at(LONGEST_TEXT - self.partial.len());
            self.partial.extend_from_slice(head);
            taken.add(Piece::GoesOn, &self.partial);
            self.partial.clear();
            self.is_in_line = true;
            text = tail;
        }
        self.partial.extend_from_slice(text);
    }

    fn drop_if_full(&mut self) {
        if !self.is_dropping && waiting(&self.pipe) >= NEARLY_FULL {
            self.is_dropping = true;
            // It counts with its end.
            self.partial.clear();
            self.is_in_line = false;
        }
    }

    /// Keeps a line that has no end.
    fn cut_short(&mut self, sink: &mut Sink<'_>) {
        if self.partial.is_empty() && !self.is_in_line {
            return;
        }
        let lines = &mut sink.scratch.lines;
        lines.clear();
        let stamp = Stamp::new(clock::wall_millis(), self.instance);
        let (file, rules) = (&mut *sink.file, sink.rules);
        let forward = &mut *sink.forward;
        let mut taken = Taken { lines, count: 0, file, rules, forward, output: sink.output, stamp };
        taken.add(Piece::CutShort, &self.partial);
        taken.write();
        self.partial.clear();
    }

    /// What is left, once the instance is dead; a last line without end is kept, marked.
    pub fn finish(mut self, sink: &mut Sink<'_>) {
        // At most what the pipe holds: somebody outside the cage may have been handed its end, and
        // write on.
        for _ in 0..PIPE_BYTES / READ_BYTES {
            // Nobody waits any more: nothing is dropped.
            if self.read(sink) != Flow::More {
                break;
            }
        }
        if self.is_dropping {
            // What had no end.
            sink.file.lose(1, TOO_FAST);
        }
        self.cut_short(sink);
    }
}

/// How many bytes a pipe holds.
fn waiting(pipe: &File) -> u64 {
    rustix::io::ioctl_fionread(pipe).unwrap_or(0)
}

/// The lines of one look.
struct Taken<'a> {
    lines: &'a mut Vec<u8>,
    count: u64,
    file: &'a mut LogFile,
    rules: &'a LogRules,
    forward: &'a mut Forward,
    output: Output,
    stamp: Stamp,
}

impl Taken<'_> {
    fn add(&mut self, piece: Piece, text: &[u8]) {
        self.stamp.write(self.lines, piece, text);
        self.forward.send(self.output, text);
        self.count += 1;
        if self.lines.len() >= WRITE_BYTES {
            self.write();
        }
    }

    fn write(&mut self) {
        self.file.write(self.lines, self.count, self.rules);
        self.lines.clear();
        self.count = 0;
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Buffers that every capture uses in turn.
#[derive(Debug)]
pub struct Scratch {
    read: Box<[u8]>,
    lines: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { read: vec![0; READ_BYTES].into_boxed_slice(), lines: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::formats::log_line::parse_line;

    /// What `write` writes into the pipe, in the file: piece and text of each line.
    fn captured(
        rules: &LogRules,
        write: impl FnOnce(&mut File, &mut dyn FnMut()),
    ) -> Vec<(Piece, Vec<u8>)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut file = LogFile::open(folder.path(), "out.log", None).expect("writable");
        let (mut capture, end) = pipe(4).expect("a pipe");
        let (mut scratch, mut forward) = (Scratch::default(), Forward::default());
        let mut sink = Sink {
            file: &mut file,
            forward: &mut forward,
            output: Output::Out,
            rules,
            scratch: &mut scratch,
        };
        let mut writer = File::from(end);
        write(&mut writer, &mut || while capture.pump(&mut sink) == Flow::More {});
        drop(writer);
        capture.finish(&mut sink);
        let bytes = std::fs::read(folder.path().join("out.log")).expect("readable");
        bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| {
                let line = parse_line(line.strip_suffix(b"\n").expect("a whole line"))
                    .expect("of the form");
                assert!([0, 4].contains(&line.instance));
                (line.piece, line.text.to_vec())
            })
            .collect()
    }

    fn chunks(chunks: &[&[u8]]) -> Vec<(Piece, Vec<u8>)> {
        captured(&LogRules::default(), |writer, pump| {
            for chunk in chunks {
                writer.write_all(chunk).expect("the pipe is large");
                pump();
            }
        })
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let lines = chunks(&[b"one\ntw", b"", b"o\n\xff\x00three\n\nla", b"st"]);
        let expected: [(Piece, &[u8]); 5] = [
            (Piece::Whole, b"one"),
            (Piece::Whole, b"two"),
            (Piece::Whole, b"\xff\x00three"),
            (Piece::Whole, b""),
            (Piece::CutShort, b"last"),
        ];
        assert_eq!(lines, expected.map(|(piece, text)| (piece, text.to_vec())));
    }

    #[test]
    fn a_line_without_end_is_cut_into_bounded_pieces() {
        let long = vec![b'x'; 3 * LONGEST_TEXT + 5];
        let lines = chunks(&[&long, b"\nnext\n"]);
        let pieces: Vec<_> = lines.iter().map(|(piece, text)| (*piece, text.len())).collect();
        let longest = (Piece::GoesOn, LONGEST_TEXT);
        assert_eq!(pieces, [longest, longest, longest, (Piece::Whole, 5), (Piece::Whole, 4)]);
    }

    #[test]
    fn what_was_written_before_the_death_is_kept_whole() {
        // More than one read takes, and nobody pumps meanwhile.
        let text = "a line of the app\n".repeat(20_000);
        let lines = captured(&LogRules::default(), |writer, _| {
            writer.write_all(text.as_bytes()).expect("the pipe is large");
        });
        assert_eq!(lines.len(), 20_000);
    }

    #[test]
    fn what_comes_too_fast_is_dropped_by_whole_lines_and_counted() {
        let rules = LogRules { on_full: OnFull::Drop, ..LogRules::default() };
        let lines = captured(&rules, |writer, pump| {
            writer.write_all(b"before\nhalf a li").expect("it has room");
            pump();
            let mut number = 0;
            while waiting(writer) < NEARLY_FULL {
                number += 1;
                writeln!(writer, "{number:0100}").expect("it has room");
            }
            pump();
            writer.write_all(b"after\n").expect("it has room");
            pump();
        });
        let texts: Vec<String> =
            lines.iter().map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect();
        assert_eq!(texts[0], "before");
        let said = 1;
        assert!(texts[said].starts_with("swrun: "), "{texts:?}");
        let lost: u64 =
            texts[said].split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
        assert_eq!(texts.last().map(String::as_str), Some("after"));
        // Of those that were kept after it each is whole, and no number is missing but the lost ones.
        let numbers: Vec<u64> = texts[said + 1..texts.len() - 1]
            .iter()
            .map(|text| text.parse().expect("a whole line"))
            .collect();
        assert_eq!(numbers.first(), Some(&(lost + 1)));
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
}
