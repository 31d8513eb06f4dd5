//! Reading a log file forwards: the lines of the app, put together again from their pieces.
//!
//! Nothing here needs the runner or the monitor: files are files. Memory is bounded whatever a file
//! holds: a line that never ends is shown in parts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::log_line::{LONGEST_LINE, OWN, Piece, parse_line};
use super::log_store::{Body, Older};

/// The longest entry put together from pieces, in bytes; a longer one comes as several.
pub const LONGEST_ENTRY: usize = 256 << 10;

/// How much is read at once, in bytes.
const BLOCK: usize = 64 << 10;

/// A line of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its first byte lies in the file.
    pub offset: u64,
    /// When its first piece was written, in milliseconds since 1970; `None`: not a line of a monitor.
    pub at_millis: Option<u64>,
    /// Of which instance.
    pub instance: Option<u32>,
    /// What the app wrote (or the raw line, where it is not a monitor's). Hostile.
    pub text: Vec<u8>,
    /// The app died before it ended the line.
    pub cut_short: bool,
    /// More of the same line follows in the next entry.
    pub(super) goes_on: bool,
}

impl Entry {
    /// Whether the line ends here: not if more of it follows, nor if the app's death cut it short.
    #[must_use]
    pub fn has_end(&self) -> bool {
        !self.goes_on && !self.cut_short
    }

    /// Whether swrun says it itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.instance == Some(OWN)
    }

    pub(super) fn from_line(offset: u64, line: &[u8]) -> Self {
        match parse_line(line) {
            Some(read) => Self {
                offset,
                at_millis: Some(read.at_millis),
                instance: Some(read.instance),
                text: read.text.to_vec(),
                cut_short: read.piece == Piece::CutShort,
                goes_on: read.piece == Piece::GoesOn,
            },
            None => Self {
                offset,
                at_millis: None,
                instance: None,
                text: line.to_vec(),
                cut_short: false,
                goes_on: false,
            },
        }
    }

    /// Whether `next`, which follows it in the file, is more of the same line and still fits.
    pub(super) fn is_continued_by(&self, next: &Self) -> bool {
        self.goes_on
            && self.instance == next.instance
            && self.text.len() + next.text.len() <= LONGEST_ENTRY
    }

    pub(super) fn append(&mut self, next: Self) {
        self.text.extend_from_slice(&next.text);
        self.cut_short = next.cut_short;
        self.goes_on = next.goes_on;
    }
}

/// Opens a log to read it: a regular file, not through a link, and without waiting for a writer.
///
/// # Errors
/// It is not there, may not be read, or is no regular file.
pub fn open_log(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Reads the entries of a file from an offset on.
#[derive(Debug)]
pub struct LogReader {
    body: Body,
    /// Where the unread part of `buffer` lies in the file.
    offset: u64,
    /// Bytes at and after this are not read.
    limit: u64,
    buffer: Vec<u8>,
    /// How much of `buffer` has been used.
    used: usize,
    /// How much of the unread part holds no newline.
    searched: usize,
    /// An entry whose next piece may follow.
    pending: Option<Entry>,
}

impl LogReader {
    /// Reads from `offset` up to `limit`, both in bytes.
    #[must_use]
    pub fn new(body: impl Into<Body>, offset: u64, limit: u64) -> Self {
        let (body, buffer) = (body.into(), Vec::new());
        Self { body, offset, limit, buffer, used: 0, searched: 0, pending: None }
    }

    /// The next entry that is complete; `None` at what is the end for now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        // It took the place of one that was not continued.
        if let Some(whole) = self.pending.take_if(|held| !held.goes_on) {
            return Ok(Some(whole));
        }
        while let Some(next) = self.next_line()? {
            match &mut self.pending {
                Some(held) if held.is_continued_by(&next) => held.append(next),
                Some(held) => return Ok(Some(std::mem::replace(held, next))),
                none => *none = Some(next),
            }
            if let Some(whole) = self.pending.take_if(|held| !held.goes_on) {
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }

    /// Goes on with the file that follows this one, which has been read to its end; a line whose pieces lie in
    /// both is one. What is left without its newline is given first.
    pub fn go_on(&mut self, next: Self) -> Option<Entry> {
        let torn = match self.used < self.buffer.len() {
            true => Some(Entry::from_line(self.offset, &self.buffer[self.used..])),
            false => None,
        };
        let pending = self.pending.take();
        *self = next;
        self.pending = pending;
        torn
    }

    /// What is left at an end that is known to be the last: pieces without their end, then a line
    /// without its newline. To be called until it is `None`.
    pub fn take_rest(&mut self) -> Option<Entry> {
        if self.used == self.buffer.len() {
            return self.pending.take();
        }
        let rest = Entry::from_line(self.offset, &self.buffer[self.used..]);
        match &mut self.pending {
            Some(held) if !held.is_continued_by(&rest) => return self.pending.take(),
            Some(held) => held.append(rest),
            none => *none = Some(rest),
        }
        self.offset += (self.buffer.len() - self.used) as u64;
        self.used = self.buffer.len();
        self.pending.take()
    }

    /// Whether the file at `path` is still this one and has not been cut below what was read.
    ///
    /// # Errors
    /// The open file cannot be asked.
    pub fn is_still(&mut self, path: &Path) -> io::Result<Presence> {
        let Body::Plain(file) = &self.body else { return Ok(Presence::Replaced) };
        let own = file.metadata()?;
        if own.len() < self.offset {
            return Ok(Presence::Truncated);
        }
        let unread = usize::try_from(own.len() - self.offset).unwrap_or(usize::MAX);
        if unread < self.buffer.len() - self.used {
            // Half a line that did not fit on the disk was taken back.
            self.buffer.truncate(self.used + unread);
            self.searched = self.searched.min(unread);
        }
        match std::fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => Ok(Presence::Same),
            Ok(_) => Ok(Presence::Replaced),
            // Between a rename and the new file: the old one is all there is.
            Err(_) => Ok(Presence::Same),
        }
    }

    /// Whether this is the file that was put aside as `older`: the same file, or packed a text of the same
    /// length.
    #[must_use]
    pub fn reads(&self, older: &Older) -> bool {
        let Body::Plain(file) = &self.body else { return false };
        let Ok(own) = file.metadata() else { return false };
        match std::fs::symlink_metadata(&older.path) {
            Ok(there) if !older.is_packed => (there.dev(), there.ino()) == (own.dev(), own.ino()),
            _ => Body::open(older).is_ok_and(|body| {
                body.is_some_and(|body| body.length().is_ok_and(|l| l == own.len()))
            }),
        }
    }

    /// Starts again at the beginning of the file, which was emptied.
    pub fn rewind(&mut self) {
        self.offset = 0;
        self.buffer.clear();
        self.used = 0;
        self.searched = 0;
        self.pending = None;
    }

    fn next_line(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let unread = &self.buffer[self.used..];
            let newline = unread[self.searched..].iter().position(|byte| *byte == b'\n');
            let length = match newline {
                Some(place) => self.searched + place + 1,
                None if unread.len() >= LONGEST_LINE => LONGEST_LINE,
                None => {
                    self.searched = unread.len();
                    if self.fill()? {
                        continue;
                    }
                    return Ok(None);
                }
            };
            let line = &unread[..length];
            let entry = Entry::from_line(self.offset, line.strip_suffix(b"\n").unwrap_or(line));
            self.offset += length as u64;
            self.used += length;
            self.searched = 0;
            return Ok(Some(entry));
        }
    }

    /// Reads one more block; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let held = self.buffer.len();
        let from = self.offset + held as u64;
        let wanted = self.limit.saturating_sub(from).min(BLOCK as u64);
        self.buffer.resize(held + usize::try_from(wanted).unwrap_or(BLOCK), 0);
        let read = loop {
            match self.body.read_at(&mut self.buffer[held..], from) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(read) => break Ok(read),
                Err(error) => break Err(error),
            }
        };
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }
}

/// What became of a file that is being followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing, or it was renamed and no new one is there yet.
    Same,
    /// It was emptied in place.
    Truncated,
    /// Another file stands in its place (rotation).
    Replaced,
}

#[cfg(test)]
mod tests {
    use super::super::log_line::write_line;
    use super::*;

    fn read_all(bytes: &[u8]) -> Vec<Entry> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.log");
        std::fs::write(&path, bytes).expect("written");
        let mut reader = LogReader::new(open_log(&path).expect("there"), 0, u64::MAX);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry().expect("readable") {
            entries.push(entry);
        }
        while let Some(entry) = reader.take_rest() {
            entries.push(entry);
        }
        entries
    }

    fn texts(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.text).into_owned()).collect()
    }

    #[test]
    fn pieces_are_joined_and_strangers_kept() {
        let mut file = Vec::new();
        write_line(&mut file, 1, 1, Piece::Whole, b"one");
        write_line(&mut file, 2, 1, Piece::GoesOn, b"two ");
        write_line(&mut file, 3, 1, Piece::GoesOn, b"and ");
        write_line(&mut file, 4, 1, Piece::Whole, b"a half");
        file.extend_from_slice(b"a stranger\n");
        write_line(&mut file, 5, 1, Piece::GoesOn, b"left ");
        write_line(&mut file, 6, 2, Piece::CutShort, b"other");
        write_line(&mut file, 7, 2, Piece::GoesOn, b"no ");
        file.extend_from_slice(b"1970-01-01T00:00:00.008Z 2 end");
        let entries = read_all(&file);
        assert_eq!(
            texts(&entries),
            ["one", "two and a half", "a stranger", "left ", "other", "no end"]
        );
        assert_eq!(entries[1].at_millis, Some(2));
        assert_eq!(entries[2].at_millis, None);
        assert!(entries[4].cut_short && !entries[1].cut_short);
        assert_eq!(
            &file[usize::try_from(entries[2].offset).expect("small")..][..10],
            b"a stranger"
        );
    }

    /// Who follows is shown a line when it is there, and not when the next one is.
    #[test]
    fn a_whole_line_after_a_piece_that_is_not_continued_is_given_at_once() {
        let mut file = Vec::new();
        write_line(&mut file, 1, 1, Piece::GoesOn, b"begun");
        write_line(&mut file, 2, 2, Piece::Whole, b"another's");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.log");
        std::fs::write(&path, &file).expect("written");
        let mut reader = LogReader::new(open_log(&path).expect("there"), 0, u64::MAX);
        let mut next = || reader.next_entry().expect("readable").map(|entry| entry.text);
        assert_eq!(next().as_deref(), Some(&b"begun"[..]));
        assert_eq!(next().as_deref(), Some(&b"another's"[..]));
        assert_eq!(next(), None);
    }

    #[test]
    fn half_a_line_that_was_taken_back_is_no_flush() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.log");
        let mut whole = Vec::new();
        write_line(&mut whole, 1, 1, Piece::Whole, b"one");
        std::fs::write(&path, [&whole, &b"1970-01-01T00:00:00.002Z 1 ha"[..]].concat())
            .expect("ours");
        let mut reader = LogReader::new(open_log(&path).expect("there"), 0, u64::MAX);
        assert!(reader.next_entry().expect("readable").is_some_and(|entry| entry.text == b"one"));
        assert_eq!(reader.next_entry().expect("readable"), None);
        let file = File::options().write(true).open(&path).expect("ours");
        file.set_len(whole.len() as u64).expect("ours");
        assert_eq!(reader.is_still(&path).expect("there"), Presence::Same);
        let mut next = Vec::new();
        write_line(&mut next, 3, 1, Piece::Whole, b"two");
        io::Write::write_all(&mut File::options().append(true).open(&path).expect("ours"), &next)
            .expect("written");
        assert!(reader.next_entry().expect("readable").is_some_and(|entry| entry.text == b"two"));
        file.set_len(0).expect("ours");
        assert_eq!(reader.is_still(&path).expect("there"), Presence::Truncated);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let file = vec![b'x'; 3 * LONGEST_LINE + 5];
        let lengths: Vec<_> = read_all(&file).iter().map(|entry| entry.text.len()).collect();
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE, LONGEST_LINE, 5]);
        let mut file = Vec::new();
        let piece = vec![b'y'; 16 << 10];
        for _ in 0..40 {
            write_line(&mut file, 1, 1, Piece::GoesOn, &piece);
        }
        let lengths: Vec<_> = read_all(&file).iter().map(|entry| entry.text.len()).collect();
        assert_eq!(lengths, [LONGEST_ENTRY, LONGEST_ENTRY, 8 * (16 << 10)]);
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("real");
        std::fs::write(&file, "x").expect("written");
        std::os::unix::fs::symlink(&file, folder.path().join("link")).expect("linked");
        nix::unistd::mkfifo(&folder.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU)
            .expect("made");
        assert!(open_log(&file).is_ok());
        for bad in ["link", "fifo", "."] {
            assert!(open_log(&folder.path().join(bad)).is_err(), "{bad}");
        }
    }
}
