//! One of the two files of an environment: written by the monitor alone, put aside when it is large or old.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::formats::log_file::open_log;
use crate::formats::log_line::{OWN, Piece, parse_line, write_line};
use crate::formats::log_store;
use crate::model::LogRules;
use crate::sys::{acl, clock, files};

/// How often it is looked whether the file is still the one that its name leads to (logrotate(8)).
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After a file could not be put aside.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Lines that are not in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many.
    pub lines: u64,
    /// Why.
    pub why: String,
}

/// The file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    readers: Option<u32>,
    file: File,
    /// In bytes: all before it is whole lines.
    size: u64,
    /// When its first line was written, in milliseconds since 1970.
    begun: Option<u64>,
    looked: Duration,
    /// Not put aside before this.
    not_before: Duration,
    /// What could not be written since the last success.
    lost: Option<Lost>,
    /// What was lost until something could be written again, and is not told yet.
    news: Option<Lost>,
    /// One was put aside, and not looked after yet.
    pub was_put_aside: bool,
}

impl LogFile {
    /// Opens it for appending; the group `readers` may read it.
    ///
    /// # Errors
    /// open(2), or it is no regular file.
    pub fn open(folder: &Path, name: &str, readers: Option<u32>) -> io::Result<Self> {
        let path = folder.join(name);
        let (file, size) = open(&path, readers)?;
        let mut log = Self {
            path,
            readers,
            begun: begun(&file, size),
            file,
            size,
            looked: clock::monotonic(),
            not_before: Duration::ZERO,
            lost: None,
            news: None,
            // What another monitor left.
            was_put_aside: true,
        };
        log.end_torn_line();
        Ok(log)
    }

    /// Lets a user read it, and what was put aside before it.
    ///
    /// # Errors
    /// fsetxattr(2).
    pub fn let_read(&self, uid: u32) -> io::Result<()> {
        for older in log_store::older(&self.path)? {
            // One that went meanwhile needs none.
            let _ = open_log(&older.path).and_then(|file| acl::let_read(file, uid));
        }
        acl::let_read(&self.file, uid)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was lost, once.
    pub fn take_news(&mut self) -> Option<Lost> {
        self.news.take()
    }

    /// Whether there is something to be told.
    pub fn has_news(&self) -> bool {
        self.news.is_some()
    }

    /// What is lost and not said yet, for the monitor that goes on.
    pub fn lost(&self) -> Option<Lost> {
        self.lost.clone()
    }

    /// Goes on after a monitor that lost this.
    pub fn go_on(&mut self, lost: Option<Lost>) {
        self.lost = lost;
    }

    /// Why nothing can be written at present.
    pub fn failing(&self) -> Option<&str> {
        self.lost.as_ref().map(|lost| lost.why.as_str())
    }

    /// When it is to be put aside for its age, in milliseconds since 1970.
    pub fn old_at(&self, rules: &LogRules) -> Option<u64> {
        let age = clock::millis(rules.rotate_age?);
        Some(self.begun?.saturating_add(age))
    }

    /// Writes whole lines, all of them or none. A full disk must not stop the app: what cannot be written is
    /// counted, and said in the file as soon as it can be.
    pub fn write(&mut self, bytes: &[u8], lines: u64, rules: &LogRules) {
        if bytes.is_empty() {
            return;
        }
        let (now, now_millis) = (clock::monotonic(), clock::wall_millis());
        if now >= self.looked + LOOK_EVERY {
            self.looked = now;
            self.look();
        }
        let is_full = self.size > 0 && self.size + bytes.len() as u64 > rules.rotate_size;
        let is_old = self.old_at(rules).is_some_and(|at| at <= now_millis);
        if (is_full || is_old) && now >= self.not_before {
            self.put_aside(now_millis);
        }
        if let Some(lost) = &self.lost {
            let text = format!("swrun: {} lines are missing here: {}", lost.lines, lost.why);
            let mut line = Vec::new();
            write_line(&mut line, now_millis, OWN, Piece::Whole, text.as_bytes());
            if let Err((_, error)) = self.append(&line, now_millis) {
                self.lose(lines, &error.to_string());
                return;
            }
            let before = self.news.take().map_or(0, |news| news.lines);
            self.news = self.lost.take();
            if let Some(news) = &mut self.news {
                news.lines += before;
            }
        }
        if let Err((kept, error)) = self.append(bytes, now_millis) {
            let kept = memchr::memchr_iter(b'\n', &bytes[..kept]).count() as u64;
            self.lose(lines.saturating_sub(kept), &error.to_string());
        }
    }

    /// Counts lines that are not written.
    pub fn lose(&mut self, lines: u64, why: &str) {
        let lost = self.lost.get_or_insert_with(|| Lost { lines: 0, why: why.to_owned() });
        lost.lines += lines;
    }

    /// Puts it aside if its age is due.
    pub fn put_aside_if_old(&mut self, rules: &LogRules) {
        let now = clock::wall_millis();
        if self.old_at(rules).is_some_and(|at| at <= now) && clock::monotonic() >= self.not_before {
            self.put_aside(now);
        }
    }

    /// Empties it, and removes what was put aside.
    ///
    /// # Errors
    /// A file could not be removed.
    pub fn flush(&mut self) -> io::Result<()> {
        for older in log_store::older(&self.path)? {
            log_store::remove(&older)?;
        }
        // A new one in its place, so that who follows sees that it is another.
        files::remove_if_there(&self.path)?;
        match open(&self.path, self.readers) {
            Ok((file, _)) => self.file = file,
            Err(_) => self.file.set_len(0)?,
        }
        (self.size, self.begun) = (0, None);
        Ok(())
    }

    /// Appends whole lines: all, or as many as fit, whose bytes are given with the error.
    fn append(&mut self, bytes: &[u8], now_millis: u64) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => {
                    return Err(self.take_back(bytes, written, io::ErrorKind::WriteZero.into()));
                }
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.take_back(bytes, written, error)),
            }
        }
        self.size += bytes.len() as u64;
        self.begun.get_or_insert(now_millis);
        Ok(())
    }

    /// A line that is not whole would swallow the one after it: it is cut off.
    fn take_back(&mut self, bytes: &[u8], written: usize, error: io::Error) -> (usize, io::Error) {
        let kept = memchr::memrchr(b'\n', &bytes[..written]).map_or(0, |end| end + 1);
        let half = (written - kept) as u64;
        if let Ok(found) = self.file.metadata() {
            let whole = found.len().saturating_sub(half);
            if half > 0 {
                let _ = self.file.set_len(whole);
            }
            self.size = whole;
        }
        (kept, error)
    }

    /// Whether somebody else moved the file or cut it short.
    fn look(&mut self) {
        let Ok(own) = self.file.metadata() else { return };
        let is_moved = match fs::symlink_metadata(&self.path) {
            Ok(there) => (there.dev(), there.ino()) != (own.dev(), own.ino()),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // Where no new one can be opened the moved one is written on.
        if is_moved && let Ok((file, size)) = open(&self.path, self.readers) {
            (self.begun, self.size) = (begun(&file, size), size);
            self.file = file;
        } else if own.len() < self.size {
            self.size = own.len();
            self.begun = begun(&self.file, self.size);
        }
    }

    fn put_aside(&mut self, now_millis: u64) {
        let moved = log_store::older(&self.path).and_then(|older| {
            let at = log_store::next_time(&older, now_millis);
            fs::rename(&self.path, log_store::aside(&self.path, at))
        });
        // In any case the old one is written on where no new one can be made.
        match moved.and_then(|()| open(&self.path, self.readers)) {
            Ok((file, size)) => {
                (self.file, self.size, self.begun) = (file, size, None);
                self.was_put_aside = true;
            }
            Err(_) => self.not_before = clock::monotonic() + TRY_AGAIN,
        }
    }

    /// A monitor that was killed, or a power cut, may have left half a line.
    fn end_torn_line(&mut self) {
        let mut last = [b'\n'];
        if self.size > 0
            && self.file.read_exact_at(&mut last, self.size - 1).is_ok()
            && last != *b"\n"
            && self.file.write_all(b"\n").is_ok()
        {
            self.size += 1;
        }
    }
}

fn open(path: &Path, readers: Option<u32>) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        // A FIFO is told of, and not waited for.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let _ = std::os::unix::fs::fchown(&file, None, readers);
    Ok((file, found.len()))
}

/// When the first line of the file was written, as it says itself.
fn begun(file: &File, size: u64) -> Option<u64> {
    if size == 0 {
        return None;
    }
    let mut start = [0; 40];
    let read = file.read_at(&mut start, 0).ok()?;
    parse_line(&start[..read]).map(|line| line.at_millis).or_else(|| Some(clock::wall_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host {
        folder: tempfile::TempDir,
        log: LogFile,
        rules: LogRules,
    }

    impl Host {
        fn new(rotate_size: u64) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let log = LogFile::open(folder.path(), "out.log", None).expect("writable");
            let rules = LogRules { rotate_size, ..LogRules::default() };
            Self { folder, log, rules }
        }

        fn write(&mut self, text: &str) {
            let mut line = Vec::new();
            write_line(&mut line, clock::wall_millis(), 1, Piece::Whole, text.as_bytes());
            self.log.write(&line, 1, &self.rules);
        }

        /// The texts of a file, by its place in order.
        fn texts(&self) -> Vec<Vec<String>> {
            let mut files: Vec<_> = fs::read_dir(self.folder.path())
                .expect("ours")
                .map(|entry| entry.expect("ours").path())
                .collect();
            // The one that is written last.
            files.sort_by_key(|path| (path.ends_with("out.log"), path.clone()));
            let lines = |path: &PathBuf| {
                let text = fs::read_to_string(path).expect("text");
                text.lines().map(|line| line[27..].to_owned()).collect()
            };
            files.iter().map(lines).collect()
        }
    }

    #[test]
    fn a_full_file_is_put_aside_between_two_lines() {
        let mut host = Host::new(90);
        for text in ["one", "two", "three", "four", "five"] {
            host.write(text);
        }
        assert_eq!(host.texts(), [vec!["one", "two"], vec!["three", "four"], vec!["five"]]);
        assert!(host.log.was_put_aside);
    }

    #[test]
    fn an_old_file_is_put_aside_and_an_empty_one_is_not() {
        let mut host = Host::new(1 << 20);
        host.rules.rotate_age = Some(Duration::from_secs(60));
        host.log.put_aside_if_old(&host.rules);
        assert_eq!(host.log.old_at(&host.rules), None);
        host.write("one");
        host.log.put_aside_if_old(&host.rules);
        host.log.begun = host.log.begun.map(|at| at - 60_000);
        host.log.put_aside_if_old(&host.rules);
        host.write("two");
        assert_eq!(host.texts(), [["one"], ["two"]]);
        // A monitor that comes later reads it from the file.
        let again = LogFile::open(host.folder.path(), "out.log", None).expect("writable");
        assert_eq!(again.begun, host.log.begun);
    }

    #[test]
    fn a_file_that_another_program_moved_or_emptied_is_noticed() {
        let mut host = Host::new(1 << 20);
        let path = host.folder.path().join("out.log");
        let later = |host: &mut Host| host.log.looked = Duration::ZERO;
        host.write("one");
        fs::rename(&path, host.folder.path().join("moved")).expect("ours");
        later(&mut host);
        host.write("two");
        // copytruncate.
        let text = fs::read(&path).expect("there");
        fs::write(host.folder.path().join("copied"), text).expect("ours");
        File::options().write(true).open(&path).and_then(|file| file.set_len(0)).expect("ours");
        later(&mut host);
        host.write("three");
        assert_eq!(host.texts(), [["two"], ["one"], ["three"]]);
        assert_eq!(host.log.size, fs::metadata(&path).expect("there").len());
    }

    #[test]
    fn half_a_line_that_a_power_cut_left_swallows_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.log");
        fs::write(&path, "2026-11-23T01:02:03.123Z 1 ha").expect("ours");
        let mut log = LogFile::open(folder.path(), "out.log", None).expect("writable");
        let mut line = Vec::new();
        write_line(&mut line, 1, 1, Piece::Whole, b"whole");
        log.write(&line, 1, &LogRules { rotate_age: None, ..LogRules::default() });
        let text = fs::read_to_string(&path).expect("text");
        assert_eq!(text, "2026-11-23T01:02:03.123Z 1 ha\n1970-01-01T00:00:00.001Z 1 whole\n");
    }
}
