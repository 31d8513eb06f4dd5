//! Following log files: new lines, a rotation (another file in the place of the old) and a flush (the
//! file emptied) are noticed by inotify on the folder, or by looking every 200 ms where the host has no
//! inotify left to give.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::log_chain::{Link, LogChain, last_of, open_current};
use super::log_file::{Entry, LogReader, Presence};
use super::log_store::Older;

/// How often files are looked at without inotify.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often they are looked at in any case: inotify is silent for some file systems.
const LOOK_ANYWAY: Duration = Duration::from_secs(2);

/// A log that is read as it grows, whatever is done to its name.
#[derive(Debug)]
pub struct FollowedLog {
    path: PathBuf,
    /// Ends with the file that was at `path` when it was opened.
    chain: Option<LogChain>,
    /// What had been put aside last when that file was opened, in milliseconds since 1970.
    known: u64,
    /// What comes after that file, which is read to its end first.
    successors: Option<(Vec<Link>, u64)>,
}

impl FollowedLog {
    /// Goes on with `chain`, which ends with the file at `path`, opened when the last one put aside was that of
    /// `known`; `None`: nothing is there yet.
    #[must_use]
    pub fn new(path: PathBuf, chain: Option<LogChain>, known: u64) -> Self {
        Self { path, chain, known, successors: None }
    }

    /// The next entry that is complete; `None` when there is none for now.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let Some(chain) = &mut self.chain else {
                let Some((current, older)) = open_current(&self.path)? else { return Ok(None) };
                let newer = older.iter().filter(|older| older.at_millis > self.known).cloned();
                let mut links: Vec<Link> = newer.map(Link::Older).collect();
                links.push(Link::Reader(LogReader::new(current, 0, u64::MAX)));
                (self.chain, self.known) = (LogChain::new(links)?, last_of(&older));
                continue;
            };
            if let Some(entry) = chain.next_entry()? {
                return Ok(Some(entry));
            }
            if let Some((links, known)) = self.successors.take() {
                chain.extend(links);
                self.known = known;
                continue;
            }
            match chain.last_mut().is_still(&self.path)? {
                Presence::Same => return Ok(None),
                Presence::Truncated => chain.last_mut().rewind(),
                // The old file may have grown since it was read: once more, then those after it.
                Presence::Replaced => {
                    let Some((current, older)) = open_current(&self.path)? else { return Ok(None) };
                    let newer: Vec<&Older> =
                        older.iter().filter(|older| older.at_millis > self.known).collect();
                    // The first of them is the file that was read, unless another program moved that one.
                    let is_own = newer.first().is_some_and(|first| chain.last().reads(first));
                    let mut links: Vec<Link> = newer
                        .into_iter()
                        .skip(usize::from(is_own))
                        .map(|older| Link::Older(older.clone()))
                        .collect();
                    // The monitor may write to the old one until it has looked (logrotate(8), `create`).
                    if links.is_empty() && current.metadata()?.len() == 0 {
                        return Ok(None);
                    }
                    links.push(Link::Reader(LogReader::new(current, 0, u64::MAX)));
                    self.successors = Some((links, last_of(&older)));
                }
            }
        }
    }
}

/// Why [`Watcher::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something may have changed.
    Look,
    /// Nobody reads the output any more.
    Closed,
}

/// Waits for changes in folders.
#[derive(Debug)]
pub struct Watcher {
    /// `None`: this host has no inotify instance or watch left (`fs.inotify.max_user_*`).
    inotify: Option<Inotify>,
}

impl Watcher {
    /// Watches `folders`. It never fails: what cannot be watched is looked at every 200 ms.
    #[must_use]
    pub fn new<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        let mut watcher = Self { inotify };
        for folder in folders {
            watcher.add(folder);
        }
        watcher
    }

    /// Watches one more folder.
    pub fn add(&mut self, folder: &Path) {
        let changes = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        if self.inotify.as_ref().is_some_and(|inotify| inotify.add_watch(folder, changes).is_err())
        {
            self.inotify = None;
        }
    }

    /// Waits until something may have changed, or the other end of `output` (a pipe) is closed.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn wait(&self, output: Option<BorrowedFd<'_>>) -> io::Result<Wake> {
        let mut watched = Vec::with_capacity(2);
        // No event is asked for: a pipe without a reader is told in any case.
        watched.extend(output.map(|output| PollFd::new(output, PollFlags::empty())));
        let pause = match &self.inotify {
            Some(inotify) => {
                watched.push(PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
                LOOK_ANYWAY
            }
            None => LOOK_EVERY,
        };
        let pause = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        match poll(&mut watched, pause) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_closed = |fd: &PollFd<'_>| {
            fd.revents()
                .is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
        };
        if output.is_some() && watched.first().is_some_and(is_closed) {
            return Ok(Wake::Closed);
        }
        // All that is queued is one reason to look; what comes later wakes again.
        while self.inotify.as_ref().is_some_and(|inotify| inotify.read_events().is_ok()) {}
        Ok(Wake::Look)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_file::open_log;
    use super::super::{log_pack, log_store};
    use std::fs::{File, OpenOptions, rename};
    use std::io::Write;
    use std::time::Instant;

    use super::super::log_line::{Piece, write_line};
    use super::*;

    fn line(text: &str) -> Vec<u8> {
        let mut buffer = Vec::new();
        write_line(&mut buffer, 1, 1, Piece::Whole, text.as_bytes());
        buffer
    }

    fn append(path: &Path, text: &str) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(&line(text))).expect("written");
    }

    /// What comes until `last` has come, or ten seconds are over.
    fn read_until(log: &mut FollowedLog, watcher: &Watcher, last: &str) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut texts: Vec<String> = Vec::new();
        while texts.last().is_none_or(|text| text != last) && Instant::now() < deadline {
            match log.next_entry().expect("readable") {
                Some(entry) => texts.push(String::from_utf8(entry.text).expect("text")),
                None => {
                    watcher.wait(None).expect("waits");
                }
            }
        }
        texts
    }

    fn follows_through_everything(watcher_of: fn(&Path) -> Watcher) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.log");
        let watcher = watcher_of(folder.path());
        let mut log = FollowedLog::new(path.clone(), None, 0);
        assert_eq!(log.next_entry().expect("not there is no error"), None);

        // The writer is another thread: what is told by inotify is really waited for.
        let writer = |path: &Path, texts: &'static [&str]| {
            let path = path.to_owned();
            std::thread::spawn(move || texts.iter().for_each(|text| append(&path, text)))
        };
        let writing = writer(&path, &["one", "two"]);
        assert_eq!(read_until(&mut log, &watcher, "two"), ["one", "two"]);
        writing.join().expect("written");

        // Rotation: the old file still gets a line after its name has changed.
        let old = folder.path().join("out.log.1");
        append(&path, "three");
        rename(&path, &old).expect("renamed");
        append(&old, "four");
        append(&path, "five");
        assert_eq!(read_until(&mut log, &watcher, "five"), ["three", "four", "five"]);

        // logrotate(8) with `create`: the monitor writes on until it sees that the file is another.
        let moved = folder.path().join("out.log.2");
        rename(&path, &moved).expect("renamed");
        File::create(&path).expect("created");
        assert_eq!(log.next_entry().expect("readable"), None);
        append(&moved, "late");
        assert_eq!(read_until(&mut log, &watcher, "late"), ["late"]);
        append(&moved, "later");
        append(&path, "in the new one");
        assert_eq!(read_until(&mut log, &watcher, "in the new one"), ["later", "in the new one"]);

        // A flush, then fewer bytes than before.
        append(&path, "six, which is a good deal longer than what follows it");
        assert_eq!(
            read_until(&mut log, &watcher, "six, which is a good deal longer than what follows it")
                .len(),
            1
        );
        File::options().write(true).open(&path).and_then(|file| file.set_len(0)).expect("emptied");
        append(&path, "seven");
        assert_eq!(read_until(&mut log, &watcher, "seven"), ["seven"]);

        // A line that comes in two halves is one line.
        let halves = line("eight");
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(&halves[..20]).expect("written");
        assert_eq!(log.next_entry().expect("readable"), None);
        let writing = std::thread::spawn(move || file.write_all(&halves[20..]).expect("written"));
        assert_eq!(read_until(&mut log, &watcher, "eight"), ["eight"]);
        writing.join().expect("written");
    }

    #[test]
    fn rotation_and_truncation_are_followed_by_inotify() {
        follows_through_everything(|folder| {
            let watcher = Watcher::new([folder]);
            assert!(watcher.inotify.is_some(), "this host gives inotify");
            watcher
        });
    }

    #[test]
    fn they_are_followed_without_inotify_too() {
        follows_through_everything(|_| Watcher { inotify: None });
    }

    #[test]
    fn what_the_old_file_got_meanwhile_comes_before_the_new() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join("out.log.1"), folder.path().join("out.log"));
        append(&old, "one");
        append(&new, "three");
        let reader = |path: &Path| LogReader::new(open_log(path).expect("there"), 0, u64::MAX);
        let chain = LogChain::new(vec![Link::Reader(reader(&old))]).expect("readable");
        let mut log = FollowedLog::new(new.clone(), chain, 0);
        let next = |log: &mut FollowedLog| {
            String::from_utf8(log.next_entry().expect("readable").expect("a line").text)
        };
        assert_eq!(next(&mut log).as_deref(), Ok("one"));
        // The state between noticing the new file and reading it: the old one grows once more.
        log.successors = Some((vec![Link::Reader(reader(&new))], 0));
        append(&old, "two");
        assert_eq!(next(&mut log).as_deref(), Ok("two"));
        assert_eq!(next(&mut log).as_deref(), Ok("three"));
    }

    /// A flood puts files aside faster than anybody looks.
    #[test]
    fn what_was_put_aside_between_two_looks_is_read_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.log");
        append(&path, "one");
        let mut log = FollowedLog::new(path.clone(), None, 0);
        let mut texts = |count: usize| -> Vec<String> {
            let next = |_| log.next_entry().expect("readable").expect("a line").text;
            let texts = (0..count).map(next);
            texts.map(|text| String::from_utf8(text).expect("text")).collect()
        };
        assert_eq!(texts(1), ["one"]);
        let put_aside = |at: u64, is_packed: bool| {
            let aside = log_store::aside(&path, at);
            rename(&path, &aside).expect("renamed");
            if is_packed {
                let text = std::fs::read(&aside).expect("there");
                let mut packed = Vec::new();
                log_pack::pack(&text[..], &mut packed).expect("in memory");
                std::fs::write(format!("{}.gz", aside.display()), packed).expect("written");
                std::fs::remove_file(aside).expect("ours");
            }
        };
        for is_packed in [false, true] {
            append(&path, "two");
            let first = if is_packed { 20 } else { 10 };
            put_aside(first, is_packed);
            append(&path, "three");
            put_aside(first + 1, is_packed);
            append(&path, "four");
            put_aside(first + 2, false);
            append(&path, "five");
            assert_eq!(texts(4), ["two", "three", "four", "five"]);
        }
        // Another program moved the one that was read; another was put aside after it.
        append(&path, "six");
        rename(&path, folder.path().join("out.log.1")).expect("renamed");
        append(&path, "seven, longer");
        put_aside(30, true);
        append(&path, "eight");
        assert_eq!(texts(3), ["six", "seven, longer", "eight"]);
    }

    #[test]
    fn inotify_wakes_before_the_time_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let watcher = Watcher::new([folder.path()]);
        append(&folder.path().join("out.log"), "text");
        let before = Instant::now();
        assert_eq!(watcher.wait(None).expect("waits"), Wake::Look);
        assert!(before.elapsed() < LOOK_ANYWAY / 2, "{:?}", before.elapsed());
    }

    #[test]
    fn a_reader_that_went_is_noticed() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let watcher = Watcher::new([]);
        drop(reader);
        assert_eq!(watcher.wait(Some(writer.as_fd())).expect("waits"), Wake::Closed);
    }
}
