//! Captures what an app writes: whole lines, stamped, into `out.log` and `err.log`. The app never
//! has the files, only pipes. (Rotation and bounds by size are the place of a later issue: `LogFile`.)

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::pipe::PipeFlags;

use crate::formats::log_line::{LONGEST_TEXT, Piece, write_line};
use crate::sys::clock;

/// What a pipe holds while the monitor is busy, in bytes: the most that the kernel allows without
/// CAP_SYS_RESOURCE (pipe(7)).
const PIPE_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 64 << 10;

/// One of the two files of an environment.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    /// Bytes that could not be written since the last success.
    pub lost: u64,
}

impl LogFile {
    /// Opens it for appending; the group `readers` may read it.
    ///
    /// # Errors
    /// open(2).
    pub fn open(folder: &Path, name: &str, readers: Option<u32>) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            // A FIFO without a reader is told of, and not waited for.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(folder.join(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let _ = std::os::unix::fs::fchown(&file, None, readers);
        Ok(Self { file, lost: 0 })
    }

    /// A full disk must not stop the app: what cannot be written is counted, and tried no longer.
    fn write(&mut self, bytes: &[u8]) {
        if self.file.write_all(bytes).is_err() {
            self.lost += bytes.len() as u64;
        }
    }
}

/// The reading end of a pipe, and the line that is not whole yet.
#[derive(Debug)]
pub struct Capture {
    pipe: File,
    instance: u32,
    partial: Vec<u8>,
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
    Ok((Capture { pipe: read.into(), instance, partial: Vec::new() }, write))
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

impl Capture {
    /// Reads once and writes the whole lines; the scratch buffers are shared by all captures.
    pub fn pump(&mut self, file: &mut LogFile, scratch: &mut Scratch) -> Flow {
        let count = match self.pipe.read(&mut scratch.read) {
            Ok(0) => return Flow::Ended,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flow::Waits,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Flow::More,
            Err(_) => return Flow::Ended,
        };
        scratch.lines.clear();
        let now = clock::wall_millis();
        let mut rest = &scratch.read[..count];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            self.take(line, now, &mut scratch.lines);
            write_line(&mut scratch.lines, now, self.instance, Piece::Whole, &self.partial);
            self.partial.clear();
            rest = after;
        }
        self.take(rest, now, &mut scratch.lines);
        file.write(&scratch.lines);
        if count == READ_BYTES { Flow::More } else { Flow::Waits }
    }

    /// Adds text to the line that is not whole, cutting off pieces of the longest size.
    fn take(&mut self, mut text: &[u8], now: u64, lines: &mut Vec<u8>) {
        while self.partial.len() + text.len() > LONGEST_TEXT {
            let (head, tail) = text.split_at(LONGEST_TEXT - self.partial.len());
            self.partial.extend_from_slice(head);
            write_line(lines, now, self.instance, Piece::GoesOn, &self.partial);
            self.partial.clear();
            text = tail;
        }
        self.partial.extend_from_slice(text);
    }

    /// What is left, once the instance is dead; a last line without end is kept, marked.
    pub fn finish(mut self, file: &mut LogFile, scratch: &mut Scratch) {
        // At most what the pipe holds: somebody outside the cage may have been handed its end, and
        // write on.
        for _ in 0..PIPE_BYTES / READ_BYTES {
            if self.pump(file, scratch) != Flow::More {
                break;
            }
        }
        if !self.partial.is_empty() {
            scratch.lines.clear();
            let now = clock::wall_millis();
            write_line(&mut scratch.lines, now, self.instance, Piece::CutShort, &self.partial);
            file.write(&scratch.lines);
        }
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
    use super::*;
    use crate::formats::log_line::parse_line;

    /// What `chunks` become in the file: piece and text of each line.
    fn captured(chunks: &[&[u8]]) -> Vec<(Piece, Vec<u8>)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut file = LogFile::open(folder.path(), "out.log", None).expect("writable");
        let (mut capture, end) = pipe(4).expect("a pipe");
        let mut writer = File::from(end);
        let mut scratch = Scratch::default();
        for chunk in chunks {
            writer.write_all(chunk).expect("the pipe is large");
            while capture.pump(&mut file, &mut scratch) == Flow::More {}
        }
        drop(writer);
        capture.finish(&mut file, &mut scratch);
        let bytes = std::fs::read(folder.path().join("out.log")).expect("readable");
        bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| {
                let line = parse_line(line.strip_suffix(b"\n").expect("a whole line"))
                    .expect("of the form");
                assert_eq!(line.instance, 4);
                (line.piece, line.text.to_vec())
            })
            .collect()
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let lines = captured(&[b"one\ntw", b"", b"o\n\xff\x00three\n\nla", b"st"]);
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
        let lines = captured(&[&long, b"\nnext\n"]);
        let pieces: Vec<_> = lines.iter().map(|(piece, text)| (*piece, text.len())).collect();
        let cut = (Piece::GoesOn, LONGEST_TEXT);
        assert_eq!(pieces, [cut, cut, cut, (Piece::Whole, 5), (Piece::Whole, 4)]);
    }
}
