//! The end of a log, and then what comes, in parts: for who asks again and again and has nothing open meanwhile.
//! Files that are packed already are left out: who wants those reads them (`log_back`).

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::log_file::open_log;
use super::log_line::{Piece, parse_line};
use super::log_store::older;
use crate::model::{LogPart, LogPlace};

/// The most of one part, in bytes: several of the longest lines.
const PART: usize = 128 << 10;

/// How far back the first part begins, in bytes.
const BACK: u64 = 48 << 10;

/// Who is so many bytes behind is led to the end.
const FAR: u64 = 1 << 20;

/// So much of the beginning of a file tells it from another with the same number: its first line has a time.
const HEAD: usize = 40;

/// The end of the log at `path`, or what came after a place; `None` where there is no log, and was none.
///
/// # Errors
/// It cannot be read.
pub fn tail(path: &Path, after: Option<LogPlace>) -> io::Result<Option<LogPart>> {
    let now = match open_log(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match (now, after) {
        (None, None) => Ok(None),
        (Some(now), None) => end_of(&now, false).map(Some),
        (now, Some(after)) => on(path, now.as_ref(), after).map(Some),
    }
}

/// What came after a place.
fn on(path: &Path, now: Option<&File>, after: LogPlace) -> io::Result<LogPart> {
    if let Some(now) = now
        && is_it(now, &after)?
    {
        return near(now, after);
    }
    // It was put aside since: its rest, and the files between it and the one that is written now.
    let asides = older(path)?.into_iter().filter(|aside| !aside.is_packed);
    let mut found = false;
    for aside in asides {
        let Ok(file) = open_log(&aside.path) else { continue };
        let place = match found {
            false if is_it(&file, &after)? => after,
            false => continue,
            true => begin(&file)?,
        };
        found = true;
        if file.metadata()?.len() > place.offset {
            let part = match now {
                Some(now) if behind(&file, &place)? > FAR => return end_of(now, true),
                _ => part(&file, place, false)?,
            };
            return Ok(LogPart { has_more: true, ..part });
        }
    }
    match now {
        Some(now) => Ok(LogPart { skipped: !found, ..near(now, begin(now)?)? }),
        // The next one is not made yet.
        None => Ok(LogPart { place: after, text: String::new(), skipped: false, has_more: false }),
    }
}

/// What follows a place in the file that is written; its end, where that is far.
fn near(now: &File, place: LogPlace) -> io::Result<LogPart> {
    match behind(now, &place)? {
        behind if behind > FAR => end_of(now, true),
        _ => part(now, place, true),
    }
}

/// Whether a place is one of that file, as far as it is known: the number of a file that was removed is given again.
fn is_it(file: &File, place: &LogPlace) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if id(&metadata) != place.file || metadata.len() < place.offset {
        return Ok(false);
    }
    Ok(head(file, place.offset)? == place.head)
}

/// A checksum of the beginning of a file, of which so many bytes were read.
fn head(file: &File, read: u64) -> io::Result<u32> {
    let mut bytes = [0; HEAD];
    let bytes = &mut bytes[..usize::try_from(read).unwrap_or(HEAD).min(HEAD)];
    file.read_exact_at(bytes, 0)?;
    Ok(crc32fast::hash(bytes))
}

fn begin(file: &File) -> io::Result<LogPlace> {
    Ok(LogPlace { file: id(&file.metadata()?), offset: 0, head: head(file, 0)? })
}

fn behind(file: &File, place: &LogPlace) -> io::Result<u64> {
    Ok(file.metadata()?.len().saturating_sub(place.offset))
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The last lines.
fn end_of(file: &File, skipped: bool) -> io::Result<LogPart> {
    let from = file.metadata()?.len().saturating_sub(BACK);
    let mut found = part(file, LogPlace { offset: from, ..begin(file)? }, true)?;
    if from > 0 {
        // In the midst of a line, mostly.
        let line = found.text.find('\n').map_or(found.text.len(), |end| end + 1);
        found.text.drain(..line);
    }
    Ok(LogPart { skipped, ..found })
}

/// Whole lines from a place on. The last one of a file that is `written` may have no end yet, nor all of its pieces.
fn part(file: &File, from: LogPlace, is_written: bool) -> io::Result<LogPart> {
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
    let whole = match is_full || is_written {
        true => ends_at(&buffer[..read]),
        false => read,
    };
    // Longer than a monitor writes one.
    let whole = if is_full && whole == 0 { read } else { whole };
    let offset = from.offset + whole as u64;
    let place = LogPlace { offset, head: head(file, offset)?, ..from };
    let text = String::from_utf8_lossy(&buffer[..whole]).into_owned();
    Ok(LogPart { place, text, skipped: false, has_more: is_full })
}

/// Where the last line ends of which all pieces are there.
fn ends_at(bytes: &[u8]) -> usize {
    let mut end = memchr::memrchr(b'\n', bytes).map_or(0, |last| last + 1);
    while end > 0 {
        let begin = memchr::memrchr(b'\n', &bytes[..end - 1]).map_or(0, |last| last + 1);
        match parse_line(&bytes[begin..end]) {
            Some(line) if line.piece == Piece::GoesOn => end = begin,
            _ => break,
        }
    }
    end
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
        let emptied = read(&log, Some(place));
        assert_eq!((emptied.text.as_str(), emptied.skipped), ("x\n", true));
        let gone = LogPlace { file: (1, 1), offset: 5, head: 0 };
        let again = read(&log, Some(gone));
        assert_eq!((again.text.as_str(), again.skipped), ("x\n", true));
    }

    #[test]
    fn the_number_of_a_file_that_is_given_again_misleads_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("out.log");
        let lines =
            |from: u32, to: u32| (from..to).map(|n| format!("line {n}\n")).collect::<String>();
        fs::write(&log, lines(0, 500)).expect("ours");
        let place = read(&log, None).place;
        // The same file with other lines, as if its number had been given again: longer, and shorter.
        for (from, to) in [(1000, 2000), (1000, 1100)] {
            fs::write(&log, lines(from, to)).expect("ours");
            let next = read(&log, Some(place));
            assert!(next.skipped && next.text.starts_with("line 1000\n"), "{:.80}", next.text);
            assert_eq!(next.text.lines().count(), usize::try_from(to - from).expect("small"));
        }
        // Put aside, and no new one yet: the place stays.
        let place = read(&log, None).place;
        fs::write(&log, lines(1000, 1200)).expect("ours");
        fs::rename(&log, aside(&log, 1_000)).expect("ours");
        let rest = read(&log, Some(place));
        assert_eq!((rest.text.lines().count(), rest.skipped), (100, false));
        let none = read(&log, Some(rest.place));
        assert_eq!((none.text.as_str(), none.skipped, none.has_more), ("", false, false));
        assert_eq!(none.place, rest.place);
        fs::write(&log, lines(1200, 1300)).expect("ours");
        let next = read(&log, Some(none.place));
        assert_eq!((next.text.lines().count(), next.skipped), (100, false));
    }

    #[test]
    fn a_line_comes_when_all_its_pieces_are_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("out.log");
        let stamp = "1970-01-01T00:00:00.001Z";
        fs::write(&log, format!("{stamp} 1 one\n{stamp} 1+ two \n")).expect("ours");
        let first = read(&log, None);
        assert_eq!(first.text, format!("{stamp} 1 one\n"));
        fs::write(&log, format!("{stamp} 1 one\n{stamp} 1+ two \n{stamp} 1 more\n")).expect("ours");
        assert_eq!(read(&log, Some(first.place)).text.lines().count(), 2);
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
        let at = |offset| LogPlace {
            offset,
            head: head(&File::open(&log).expect("ours"), offset).expect("readable"),
            ..first.place
        };
        let far = read(&log, Some(at(0)));
        assert!(far.skipped && far.text.len() <= 48 << 10);
        let part = read(&log, Some(at(1_500_000)));
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
        let start = begin(&File::open(&log).expect("ours")).expect("readable");
        let endless = read(&log, Some(start));
        assert_eq!((endless.text.len(), endless.has_more), (PART, true));
    }
}
