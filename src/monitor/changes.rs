//! The restart when files change: `[watch]`, for the environment of developers.
//!
//! The folders are the app's, and this process is root: they are opened beneath the base, over no link and no mount, and
//! only so many. What the app itself may write never counts, or it would restart itself.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};

use super::run::Monitor;
use crate::lifecycle::Event;
use crate::model::{EventKind, WatchRules};
use crate::sys::clock;

/// The most folders; the host has some ten thousand for each user, and these are root's.
const MOST_FOLDERS: usize = 1024;

/// The most entries of folders that are looked at in one walk.
const MOST_ENTRIES: usize = 50_000;

/// The most events that are taken in one look; the rest waits in the kernel.
const MOST_EVENTS: usize = 4096;

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
    /// By the number of its watch.
    folders: HashMap<i32, Folder>,
    entries: usize,
    is_partial: bool,
    /// The first change, when it was, and when nothing may have followed it.
    changed: Option<(PathBuf, Duration, Duration)>,
}

/// A folder that is watched.
#[derive(Debug)]
struct Folder {
    /// Relative to the base.
    path: PathBuf,
    /// Only these names of it count: paths that the rules name, there or not.
    named: BTreeSet<String>,
    /// All that is in it counts.
    is_whole: bool,
}

/// What a look at the events came to.
#[derive(Debug, Default)]
struct Look {
    /// The first path that changed.
    first: Option<PathBuf>,
    /// What is watched is not what is there any more.
    is_stale: bool,
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
            entries: 0,
            is_partial: false,
            changed: None,
        };
        for path in changes.rules.paths.clone() {
            changes.add_named(&path)?;
        }
        Ok(changes)
    }

    /// Begins anew with what is there now, and gives what has come to be there of what the rules name; where that
    /// fails, what was watched stays.
    fn renew(&mut self) -> Option<PathBuf> {
        let mut new = Self::new(self.rules.clone(), &self.base, &self.left_out).ok()?;
        new.changed = self.changed.take();
        let before = std::mem::replace(self, new);
        let has = |changes: &Self, path: &Path| {
            changes.folders.values().any(|folder| folder.is_whole && folder.path == path)
        };
        let mut whole = self.folders.values().filter(|folder| folder.is_whole);
        let came =
            whole.find(|folder| self.is_of_rules(&folder.path) && !has(&before, &folder.path));
        came.map(|folder| folder.path.clone())
    }

    fn open(&self, folder: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let base = rustix::fs::open(&self.base, flags, Mode::empty())?;
        let inside = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(base, inside, flags | OFlags::NOFOLLOW, Mode::empty(), resolve)
    }

    /// Watches a folder: all of it, or one name in it.
    fn watch(
        &mut self,
        opened: BorrowedFd<'_>,
        path: &Path,
        named: Option<String>,
    ) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        // The very folder that was opened, whatever its name is now.
        let place = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let number = inotify::add_watch(&self.inotify, place, flags)?;
        // A folder that is watched already has the number that it had.
        let folder = self.folders.entry(number).or_insert_with(|| Folder {
            path: path.to_owned(),
            named: BTreeSet::new(),
            is_whole: false,
        });
        folder.is_whole |= named.is_none();
        folder.named.extend(named);
        Ok(())
    }

    /// Watches a path of the rules, and the folder in which it is or may come to be.
    fn add_named(&mut self, path: &Path) -> io::Result<()> {
        let tidy = tidy(path);
        let is_folder = match self.add(&tidy) {
            Ok(()) => true,
            // A file, a link, or not there yet.
            Err(error)
                if [libc::ENOTDIR, libc::ENOENT, libc::ELOOP, libc::EXDEV]
                    .map(Some)
                    .contains(&error.raw_os_error()) =>
            {
                false
            }
            Err(error) => return Err(error),
        };
        let mut place = tidy.as_path();
        while let (Some(folder), Some(name)) = (place.parent(), place.file_name()) {
            if let Ok(opened) = self.open(folder) {
                let name = name.to_string_lossy().into_owned();
                return self.watch(opened.as_fd(), folder, Some(name));
            }
            place = folder;
        }
        if is_folder { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
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
            if self.folders.len() >= MOST_FOLDERS || self.entries >= MOST_ENTRIES {
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
            self.watch(opened.as_fd(), &folder, None)?;
            for entry in Dir::new(opened)?.flatten().take(MOST_ENTRIES) {
                self.entries += 1;
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

    /// What has changed first, since the last look; what is watched is what is there, after it.
    fn look(&mut self) -> Option<PathBuf> {
        let Look { first, is_stale } = self.take();
        let came = if is_stale { self.renew() } else { None };
        first.or(came)
    }

    /// Takes what has changed.
    fn take(&mut self) -> Look {
        let mut look = Look::default();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        for _ in 0..MOST_EVENTS {
            let Ok(event) = events.next() else { break };
            let is = |flags| event.events().intersects(flags);
            if is(ReadFlags::QUEUE_OVERFLOW) {
                look.is_stale = true;
                look.first.get_or_insert_with(PathBuf::new);
                continue;
            }
            if is(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
                // Gone, or somewhere else: its folder tells of the change.
                look.is_stale = true;
                continue;
            }
            let Some(folder) = self.folders.get(&event.wd()) else { continue };
            let name = event.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let path = folder.path.join(&*name);
            let is_named = folder.named.contains(&*name);
            let is_in = folder.is_whole && self.rules.counts(&name) || is_named;
            let whole = self.base.join(&path);
            if !is_in || self.left_out.iter().any(|out| whole.starts_with(out)) {
                continue;
            }
            if is(ReadFlags::ISDIR) {
                look.is_stale = true;
                let is_on_the_way = is_named && !folder.is_whole && !self.is_of_rules(&path);
                if is_on_the_way {
                    continue;
                }
            } else if is(ReadFlags::CREATE) {
                // What is in it comes with its close.
                continue;
            }
            look.first.get_or_insert(path);
        }
        look
    }

    /// Whether the rules name it, and not only something deeper.
    fn is_of_rules(&self, path: &Path) -> bool {
        self.rules.paths.iter().any(|named| tidy(named) == path)
    }
}

/// Without `.`, so that the base itself is empty.
fn tidy(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
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
                let text = format!(
                    "its files are not watched for changes until it is started again: {error} (fs.inotify.max_user_watches, max_user_instances?)"
                );
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
        if let Some(path) = changes.look() {
            changes.changed = Some((path, now, now + changes.rules.delay));
        }
    }

    /// Restarts it, when the wait is over and nothing else is under way.
    pub(super) fn look_at_changes(&mut self) {
        let now = clock::monotonic();
        let is_busy = self.is_under_order();
        let Some(changes) = &mut self.changes else { return };
        let Some((path, since, due)) = changes.changed.take() else { return };
        if due > now {
            changes.changed = Some((path, since, due));
            return;
        }
        let delay = changes.rules.delay;
        let first = changes.look();
        if is_busy || first.is_some() && now < since + delay * MOST_DELAYS {
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
