//! The end of a log, and then what comes, in parts: for who asks again and again and has nothing open meanwhile.
//! Files that are packed already are left out: who wants those reads them (`log_back`).

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::log_file::open_log;
use super::log_store::{Older, older};
use crate::model::{LogPart, LogPlace};

/// The most of one part, in bytes: several of the longest lines.
const PART: usize = 128 << 10;

/// How far back the first part begins, in bytes.
const BACK: u64 = 48 << 10;

/// Who is so many bytes behind is led to the end.
const FAR: u64 = 1 << 20;

/// The end of the log at `path`, or what came after a place; `None` where there is no log.
///
/// # Errors
/// It cannot be read.
pub fn tail(path: &Path, after: Option<LogPlace>) -> io::Result<Option<LogPart>> {
    let now = match open_log(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = now.metadata()?;
    let Some(after) = after else { return end_of(now, &metadata, false).map(Some) };
    if id(&metadata) == after.file {
        return match metadata.len().checked_sub(after.offset) {
            // It was emptied.
            None => part(&now, LogPlace { offset: 0, ..after }, true, false).map(Some),
            Some(behind) if behind > FAR => end_of(now, &metadata, true).map(Some),
            Some(_) => part(&now, after, true, false).map(Some),
        };
    }
    // It was put aside since: its rest, and the files between it and the one that is written now.
    let asides: Vec<Older> = older(path)?.into_iter().filter(|aside| !aside.is_packed).collect();
    let begin = LogPlace { file: id(&metadata), offset: 0 };
    let is_it =
        |aside: &Older| std::fs::symlink_metadata(&aside.path).is_ok_and(|m| id(&m) == after.file);
    let Some(at) = asides.iter().position(is_it) else {
        return match metadata.len() {
            length if length > FAR => end_of(now, &metadata, true).map(Some),
            _ => part(&now, begin, true, true).map(Some),
        };
    };
    for (index, aside) in asides[at..].iter().enumerate() {
        let Ok(file) = open_log(&aside.path) else { continue };
        let found = file.metadata()?;
        let place = match index {
            0 => after,
            _ => LogPlace { file: id(&found), offset: 0 },
        };
        if found.len().saturating_sub(place.offset) > FAR {
            return end_of(now, &metadata, true).map(Some);
        }
        if found.len() > place.offset {
            let part = part(&file, place, false, false)?;
            return Ok(Some(LogPart { has_more: true, ..part }));
        }
    }
    part(&now, begin, true, false).map(Some)
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The last lines.
fn end_of(file: File, metadata: &Metadata, skipped: bool) -> io::Result<LogPart> {
    let file_id = id(metadata);
    let from = metadata.len().saturating_sub(BACK);
    let mut found = part(&file, LogPlace { file: file_id, offset: from }, true, skipped)?;
    if from > 0 {
        // In the midst of a line, mostly.
        let line = found.text.find('\n').map_or(found.text.len(), |end| end + 1);
        found.text.drain(..line);
    }
    Ok(found)
}

/// Whole lines from a place on. The last one of a file that is `written` may have no end yet.
fn part(file: &File, from: LogPlace, is_written: bool, skipped: bool) -> io::Result<LogPart> {
    let mut buffer = vec![0; PART];
    let mut read = 0;
    while read < PART {
        match file.read_at(&mut buffer[read..], from.offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let is_full = read == PART;
    let whole = match memchr::memrchr(b'\n', &buffer[..read]) {
        Some(last) => last + 1,
        // Longer than a monitor writes one.
        None if is_full => read,
        None => 0,
    };
    let whole = if is_full || is_written { whole } else { read };
    let place = LogPlace { offset: from.offset + whole as u64, ..from };
    let text = String::from_utf8_lossy(&buffer[..whole]).into_owned();
    Ok(LogPart { place, text, skipped, has_more: is_full })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::log_store::aside;
    use super::*;

    fn read(path: &Path, after: Option<LogPlace>) -> LogPart {
        tail(path, after).expect("readable").expect("there")
    }

    #[test]
    fn the_end_then_what_comes_over_files_that_are_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("out.log");
        assert_eq!(tail(&log, None).expect("no error"), None);
        fs::write(&log, "one\ntwo\nha").expect("ours");
        let first = read(&log, None);
        assert_eq!(
            (first.text.as_str(), first.skipped, first.has_more),
            ("one\ntwo\n", false, false)
        );
        assert_eq!(read(&log, Some(first.place)).text, "");
        fs::write(&log, "one\ntwo\nhalf\n").expect("ours");
        let second = read(&log, Some(first.place));
        assert_eq!(second.text, "half\n");

        // Twice put aside, with a rest in the first and all of the second unread.
        fs::write(&log, "one\ntwo\nhalf\nrest\n").expect("ours");
        fs::rename(&log, aside(&log, 1_000)).expect("ours");
        fs::write(&log, "middle\n").expect("ours");
        fs::rename(&log, aside(&log, 2_000)).expect("ours");
        fs::write(&log, "newest\n").expect("ours");
        let mut seen = Vec::new();
        let mut place = second.place;
        loop {
            let next = read(&log, Some(place));
            assert!(!next.skipped);
            seen.push(next.text);
            place = next.place;
            if !next.has_more {
                break;
            }
        }
        assert_eq!(seen, ["rest\n", "middle\n", "newest\n"]);

        // Emptied in place; and gone for good.
        fs::write(&log, "x\n").expect("ours");
        assert_eq!(read(&log, Some(place)).text, "x\n");
        let gone = LogPlace { file: (1, 1), offset: 5 };
        let again = read(&log, Some(gone));
        assert_eq!((again.text.as_str(), again.skipped), ("x\n", true));
    }

    #[test]
    fn who_is_far_behind_is_led_to_the_end_and_parts_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("out.log");
        let line = format!("{}\n", "x".repeat(99));
        fs::write(&log, line.repeat(20_000)).expect("ours");
        let first = read(&log, None);
        assert!(first.text.len() <= 48 << 10 && first.text.starts_with('x'));
        assert!(first.text.lines().all(|line| line.len() == 99));
        let file = first.place.file;
        let far = read(&log, Some(LogPlace { file, offset: 0 }));
        assert!(far.skipped && far.text.len() <= 48 << 10);
        let near = LogPlace { file, offset: 1_500_000 };
        let part = read(&log, Some(near));
        assert!(part.has_more && part.text.len() <= PART && part.text.ends_with('\n'));
        assert_eq!(read(&log, Some(part.place)).text.lines().next().map(str::len), Some(99));
    }

    #[test]
    fn any_bytes_are_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("out.log");
        fs::write(&log, b"\xff\x00\x1b[2J\n").expect("ours");
        assert_eq!(read(&log, None).text, "\u{fffd}\0\u{1b}[2J\n");
        fs::write(&log, vec![b'y'; 2 * PART]).expect("ours");
        let endless = read(&log, Some(LogPlace { offset: 0, ..read(&log, None).place }));
        assert_eq!((endless.text.len(), endless.has_more), (PART, true));
    }
}
