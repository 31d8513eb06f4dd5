//! The profile of an environment as it is in its file now: an edit shows in the status without a reload, and a file that is
//! as it was is not read again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::entry::Entry;
use crate::sys::clock;

/// A change that comes so soon after another may leave the same times behind, in seconds.
const TOO_SOON: i64 = 2;

/// What was read, and of which file.
#[derive(Debug)]
pub struct Glance {
    stamp: Stamp,
    digest: String,
}

/// Device, inode, size, and the times of the last change of text and of anything, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64, u64, u64, i128, i128);

impl Stamp {
    /// That of a file.
    pub fn of(found: &Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self(
            found.dev(),
            found.ino(),
            found.size(),
            nanos(found.mtime(), found.mtime_nsec()),
            nanos(found.ctime(), found.ctime_nsec()),
        )
    }
}

/// Whether its file is there, and its digest, where it can be read.
pub fn look(entry: &Entry) -> (bool, Option<String>) {
    let Some(file) = entry.known.borrow().as_ref().map(|known| known.file.clone()) else {
        return (false, None);
    };
    let Ok(found) = std::fs::symlink_metadata(&file) else { return (false, None) };
    let stamp = Stamp::of(&found);
    if let Some(glance) = entry.glance.borrow().as_ref().filter(|glance| glance.stamp == stamp) {
        return (true, Some(glance.digest.clone()));
    }
    let now = i64::try_from(clock::wall_millis() / 1000).unwrap_or(i64::MAX);
    let is_settled = now.saturating_sub(found.ctime()) > TOO_SOON;
    let digest = read(&file);
    let kept = digest.clone().filter(|_| is_settled);
    *entry.glance.borrow_mut() = kept.map(|digest| Glance { stamp, digest });
    (true, digest)
}

fn read(file: &Path) -> Option<String> {
    let source = crate::profile::open(file).ok()?;
    crate::profile::read(&source.file, &source.text).profile.map(|profile| profile.digest)
}
