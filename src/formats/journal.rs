//! The journal of an environment: a JSON object a line, two generations of a bounded size.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::model::Event;
use crate::sys::files;

/// From this size on the file becomes the older generation, in bytes.
const LARGEST: u64 = 256 << 10;

/// Appends one event.
///
/// # Errors
/// The file could not be written.
pub fn append(path: &Path, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    if file.metadata()?.len() > LARGEST {
        fs::rename(path, older(path))?;
        file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    }
    file.write_all(&line)
}

/// The last `count` events, oldest first. A line that cannot be read (the last one after a power cut)
/// is left out; a journal that is not there has no events.
///
/// # Errors
/// A file could not be read.
pub fn last(path: &Path, count: usize) -> io::Result<Vec<Event>> {
    // From the end on: of a long journal only what is asked for is understood.
    let mut events: Vec<Event> = Vec::new();
    for file in [path.to_owned(), older(path)] {
        if events.len() >= count {
            break;
        }
        let bytes = match files::read_bounded(&file, LARGEST * 2) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let lines = bytes.rsplit(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok());
        events.extend(lines.take(count - events.len()));
    }
    events.reverse();
    Ok(events)
}

/// Forgets all events.
///
/// # Errors
/// A file could not be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    for file in [older(path), path.to_owned()] {
        files::remove_if_there(&file)?;
    }
    Ok(())
}

fn older(path: &Path) -> PathBuf {
    files::with_suffix(path, ".1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    #[test]
    fn the_journal_is_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("shop.events");
        for n in 0..6_000 {
            let kind = EventKind::Warning { text: format!("{n} {}", "x".repeat(90)) };
            let event = Event { at: "2026-11-23T01:02:03Z".into(), instance: Some(n), kind };
            append(&path, &event).expect("writable");
        }
        let sizes: u64 =
            [&path, &older(&path)].iter().map(|p| fs::metadata(p).map_or(0, |m| m.len())).sum();
        assert!(sizes < 3 * LARGEST, "{sizes}");
        let instances: Vec<_> =
            last(&path, 3).expect("readable").iter().map(|e| e.instance).collect();
        assert_eq!(instances, [Some(5_997), Some(5_998), Some(5_999)]);
        fs::write(&path, b"{\"at\":\"2026").expect("writable");
        assert_eq!(last(&path, 1).expect("readable").len(), 1, "a torn line is left out");
    }
}
