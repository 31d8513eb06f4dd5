//! The restart when files change: `[watch]`, for the environment of developers.
//!
//! The folders are the app's, and this process is root: they are opened beneath the base, over no link and no mount, and
//! only so many. What the app itself may write never counts, or it would restart itself.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};

use super::run::Monitor;
use crate::lifecycle::Event;
use crate::model::{EventKind, WatchRules};
use crate::sys::clock;

/// The most folders; the host has some ten thousand for each user, and these are root's.
const MOST_FOLDERS: usize = 1024;

/// The most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 10_000;

/// Files that change without pause restart it at the latest after so many delays.
const MOST_DELAYS: u32 = 10;

/// What is waited for.
#[derive(Debug)]
pub struct Changes {
    rules: WatchRules,
    base: PathBuf,
    /// What the app may write.
    left_out: Vec<PathBuf>,
    inotify: OwnedFd,
    /// By the number of its watch: the folder, relative to the base, and of a path that is a file its name.
    folders: HashMap<i32, (PathBuf, Option<String>)>,
    is_partial: bool,
    /// The first change, when it was, and when nothing may have followed it.
    changed: Option<(PathBuf, Duration, Duration)>,
}

impl Changes {
    fn new(rules: WatchRules, base: &Path, writable: &[PathBuf]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut changes = Self {
            rules,
            base: base.to_owned(),
            left_out: writable.to_vec(),
            inotify,
            folders: HashMap::new(),
            is_partial: false,
            changed: None,
        };
        for path in changes.rules.paths.clone() {
            if changes.add(&path).is_err() {
                // A file, or not there yet: its folder tells.
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let folder = path.parent().unwrap_or(Path::new("")).to_owned();
                let opened = changes.open(&folder)?;
                changes.watch(opened.as_fd(), folder, name)?;
            }
        }
        Ok(changes)
    }

    fn open(&self, folder: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let base = rustix::fs::open(&self.base, flags, Mode::empty())?;
        let inside = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(base, inside, flags | OFlags::NOFOLLOW, Mode::empty(), resolve)
    }

    fn watch(
        &mut self,
        opened: BorrowedFd<'_>,
        folder: PathBuf,
        only: Option<String>,
    ) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        // The very folder that was opened, whatever its name is now.
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let number = inotify::add_watch(&self.inotify, path, flags)?;
        self.folders.insert(number, (folder, only));
        Ok(())
    }

    /// Watches a folder and those in it.
    fn add(&mut self, folder: &Path) -> io::Result<()> {
        let mut open = vec![folder.to_owned()];
        let mut is_first = true;
        while let Some(folder) = open.pop() {
            let whole = self.base.join(&folder);
            if self.left_out.iter().any(|writable| whole.starts_with(writable)) {
                continue;
            }
            if self.folders.len() >= MOST_FOLDERS {
                self.is_partial = true;
                return Ok(());
            }
            let opened = match self.open(&folder) {
                Ok(opened) => opened,
                // Gone meanwhile, a link, another file system.
                Err(_) if !is_first => continue,
                Err(error) => return Err(error.into()),
            };
            is_first = false;
            self.watch(opened.as_fd(), folder.clone(), None)?;
            for entry in Dir::new(opened)?.flatten().take(MOST_ENTRIES) {
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_folder =
                    entry.file_type() == FileType::Directory && name != "." && name != "..";
                if is_folder && self.rules.counts(&name) {
                    open.push(folder.join(name));
                }
            }
        }
        Ok(())
    }

    /// Takes what has changed; gives the first path that counts.
    fn take(&mut self) -> Option<PathBuf> {
        let mut first = None;
        let mut new = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let inotify = self.inotify.as_fd();
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = events.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                first.get_or_insert_with(PathBuf::new);
                continue;
            }
            if event.events().contains(ReadFlags::IGNORED) {
                self.folders.remove(&event.wd());
                continue;
            }
            let Some((folder, only)) = self.folders.get(&event.wd()) else { continue };
            let name = event
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let path = folder.join(&name);
            let is_other = only.as_ref().is_some_and(|only| *only != name);
            let whole = self.base.join(&path);
            if is_other
                || !self.rules.counts(&name)
                || self.left_out.iter().any(|out| whole.starts_with(out))
            {
                continue;
            }
            let comes = event.events().intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
            if event.events().contains(ReadFlags::ISDIR) {
                if comes {
                    new.push(path.clone());
                }
            } else if event.events().contains(ReadFlags::CREATE) {
                // What is in it comes with its close.
                continue;
            }
            first.get_or_insert(path);
        }
        for folder in new {
            // One that is gone again is no loss.
            let _ = self.add(&folder);
        }
        first
    }
}

impl Monitor {
    /// Watches what the spec says; looked at after each event.
    pub(super) fn keep_watching(&mut self) {
        let spec = &self.spec;
        let is_same = match (&self.changes, &spec.watch) {
            (None, None) => true,
            (None, Some(rules)) => self.watch_failed.as_ref() == Some(rules),
            (Some(changes), Some(rules)) => {
                changes.rules == *rules
                    && changes.base == spec.base
                    && changes.left_out == spec.writable
            }
            (Some(_), None) => false,
        };
        if is_same {
            return;
        }
        (self.changes, self.watch_failed) = (None, None);
        let Some(rules) = self.spec.watch.clone() else { return };
        match Changes::new(rules.clone(), &self.spec.base, &self.spec.writable) {
            Ok(changes) => {
                if changes.is_partial {
                    let text = format!(
                        "only {MOST_FOLDERS} folders are watched for changes: name fewer in [watch] paths, or more in ignore"
                    );
                    self.write_event(None, EventKind::Warning { text });
                }
                self.changes = Some(changes);
            }
            Err(error) => {
                let text = format!("its files are not watched for changes: {error}");
                self.write_event(None, EventKind::Warning { text });
                self.watch_failed = Some(rules);
            }
        }
    }

    /// Readable when something has changed; not while that is waited out, so that a flood of changes is read in one.
    pub(super) fn changes_source(&self) -> Option<BorrowedFd<'_>> {
        let changes = self.changes.as_ref().filter(|changes| changes.changed.is_none())?;
        Some(changes.inotify.as_fd())
    }

    /// When the wait is over.
    pub(super) fn changes_due(&self) -> Option<Duration> {
        self.changes.as_ref()?.changed.as_ref().map(|(.., due)| *due)
    }

    /// Something has changed: the restart comes once nothing follows.
    pub(super) fn take_changes(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let now = clock::monotonic();
        if let Some(path) = changes.take() {
            changes.changed = Some((path, now, now + changes.rules.delay));
        }
    }

    /// Restarts it, when the wait is over.
    pub(super) fn look_at_changes(&mut self) {
        let now = clock::monotonic();
        let Some(changes) = &mut self.changes else { return };
        let Some((path, since, due)) = changes.changed.take() else { return };
        if due > now {
            changes.changed = Some((path, since, due));
            return;
        }
        let delay = changes.rules.delay;
        if changes.take().is_some() && now < since + delay * MOST_DELAYS {
            changes.changed = Some((path, since, now + delay));
            return;
        }
        if self.is_ending {
            return;
        }
        let what = match path.to_string_lossy() {
            path if path.is_empty() => "many files".to_owned(),
            path => format!("\"{path}\""),
        };
        self.write_event(
            None,
            EventKind::Note { text: format!("it is restarted, since {what} changed") },
        );
        self.pending.push_back(Event::Restart);
    }
}
