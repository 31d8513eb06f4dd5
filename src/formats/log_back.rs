//! Reading logs backwards from their ends, over the files put aside before: to find where their last N entries
//! begin. What lies before is never read, and what is found is not held (a second, forward pass shows it).

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::log_chain::{Link, LogChain, open_current};
use super::log_file::{Entry, LogReader};
use super::log_line::LONGEST_LINE;
use super::log_store::{Body, Older, older};

/// How much is read at once, in bytes.
const BLOCK: usize = 64 << 10;

/// A log with what was before it.
#[derive(Debug)]
pub struct Log {
    /// The file that is written and its length in bytes, if it is there.
    pub current: Option<(File, u64)>,
    /// Those put aside, the oldest first.
    pub older: Vec<Older>,
    /// What was put aside before this is not looked at, in milliseconds since 1970.
    not_before: u64,
    /// Which of them cannot be read.
    unreadable: RefCell<Vec<PathBuf>>,
}

impl Log {
    /// A log of these files.
    #[must_use]
    pub fn new(current: Option<(File, u64)>, older: Vec<Older>) -> Self {
        Self { current, older, not_before: 0, unreadable: RefCell::default() }
    }

    /// The log at `path` as it is now; nothing of it need be there.
    ///
    /// # Errors
    /// It, or its folder, cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(match open_current(path)? {
            Some((file, older)) => {
                let length = file.metadata()?.len();
                Self::new(Some((file, length)), older)
            }
            None => Self::new(None, older(path)?),
        })
    }

    /// The same without what was put aside before `since`, in milliseconds since 1970: all its lines are older.
    #[must_use]
    pub fn since(mut self, since: Option<u64>) -> Self {
        self.not_before = since.unwrap_or(0);
        self
    }

    /// The files from `place` on; the one that is written to its present end, unless it is followed.
    #[must_use]
    pub fn links(self, place: Option<Place>, follow: bool) -> Vec<Link> {
        let mut links = Vec::new();
        let back = place.map_or(0, |place| place.back);
        let mut offset = place.map(|place| place.offset);
        for older in self.older.iter().rev().take(back).rev() {
            // Of the first from the place on; what cannot be opened any more is gone.
            match offset.take() {
                Some(from) => {
                    let body = Body::open(older).ok().flatten();
                    let reader = body.map(|body| LogReader::new(body, from, u64::MAX));
                    links.extend(reader.map(Link::Reader));
                }
                None => links.push(Link::Older(older.clone())),
            }
        }
        if let Some((file, length)) = self.current {
            // Without a place nothing of it is wanted that is there now.
            let from = match (place, offset) {
                (None, _) => length,
                (Some(_), offset) => offset.unwrap_or(0),
            };
            let limit = if follow { u64::MAX } else { length };
            links.push(Link::Reader(LogReader::new(file, from, limit)));
        }
        links
    }

    /// Files that were looked at and left out: another program packed them, or they are damaged or not the
    /// caller's to read.
    #[must_use]
    pub fn unreadable(&self) -> Vec<PathBuf> {
        self.unreadable.borrow().clone()
    }
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In how many of the files put aside it lies before: 0 is the file that is written, 1 the one put aside
    /// last.
    pub back: usize,
    /// In bytes of text.
    pub offset: u64,
}

/// The lines of a log from the last to the first.
#[derive(Debug)]
struct BackwardLines<'a> {
    log: &'a Log,
    block: usize,
    back: usize,
    /// That of a file put aside; `None` is the file that is written, or one that is not there.
    body: Option<Body>,
    /// Where `buffer` begins in the file.
    start: u64,
    /// What lies between `start` and the lines already given.
    buffer: Vec<u8>,
}

impl<'a> BackwardLines<'a> {
    fn new(log: &'a Log, block: usize) -> Self {
        let start = log.current.as_ref().map_or(0, |(_, length)| *length);
        Self { log, block, back: 0, body: None, start, buffer: Vec::new() }
    }

    /// The line before the ones given so far: where it begins, and its bytes without the newline.
    fn next_line(&mut self) -> io::Result<Option<(Place, Vec<u8>)>> {
        loop {
            let body = self.buffer.len().saturating_sub(1);
            let begin = match self.buffer[..body].iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => newline + 1,
                None if self.start == 0 && self.buffer.is_empty() => {
                    if self.go_back()? {
                        continue;
                    }
                    return Ok(None);
                }
                None if self.start == 0 || self.buffer.len() > LONGEST_LINE => 0,
                None => {
                    match self.read_block() {
                        Ok(true) => {}
                        // It has become shorter meanwhile: what was before it is all there is.
                        Ok(false) => (self.start, self.buffer) = (0, Vec::new()),
                        Err(_) if self.back > 0 => self.leave_out(),
                        Err(error) => return Err(error),
                    }
                    continue;
                }
            };
            let mut line = self.buffer.split_off(begin);
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            let place = Place { back: self.back, offset: self.start + begin as u64 };
            return Ok(Some((place, line)));
        }
    }

    /// Goes to the file put aside before; false at the last.
    fn go_back(&mut self) -> io::Result<bool> {
        while let Some(at) = self.log.older.len().checked_sub(self.back + 1) {
            let older = &self.log.older[at];
            if older.at_millis < self.log.not_before {
                return Ok(false);
            }
            self.back += 1;
            let opened = Body::open(older).and_then(|body| {
                body.map(|body| body.length().map(|length| (body, length))).transpose()
            });
            match opened {
                Ok(Some((body, length))) => {
                    (self.start, self.body) = (length, Some(body));
                    return Ok(true);
                }
                Ok(None) => {}
                Err(_) => self.leave_out(),
            }
        }
        Ok(false)
    }

    /// The file put aside that is at hand cannot be read: those before it can.
    fn leave_out(&mut self) {
        if let Some(at) = self.log.older.len().checked_sub(self.back) {
            self.log.unreadable.borrow_mut().push(self.log.older[at].path.clone());
        }
        (self.start, self.buffer) = (0, Vec::new());
    }

    /// Reads the block before `start`; false when the file has become shorter meanwhile.
    fn read_block(&mut self) -> io::Result<bool> {
        let length = self.start.min(self.block as u64);
        let mut block = vec![0; usize::try_from(length).unwrap_or(self.block)];
        let from = self.start - length;
        let mut read = 0;
        while read < block.len() {
            let (rest, from) = (&mut block[read..], from + read as u64);
            let count = match (&self.body, &self.log.current) {
                (Some(body), _) => body.read_at(rest, from),
                (None, Some((file, _))) => std::os::unix::fs::FileExt::read_at(file, rest, from),
                (None, None) => Ok(0),
            };
            match count {
                Ok(0) => return Ok(false),
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.start -= length;
        block.append(&mut self.buffer);
        self.buffer = block;
        Ok(true)
    }
}

/// The entries of a log from the last to the first.
#[derive(Debug)]
struct BackwardEntries<'a> {
    lines: BackwardLines<'a>,
    /// A line that was read to see whether it belongs to the entry after it.
    ahead: Option<(Place, Entry)>,
}

impl BackwardEntries<'_> {
    fn read_line(&mut self) -> io::Result<Option<(Place, Entry)>> {
        match self.ahead.take() {
            Some(entry) => Ok(Some(entry)),
            None => {
                let line = self.lines.next_line()?;
                Ok(line.map(|(place, line)| (place, Entry::from_line(place.offset, &line))))
            }
        }
    }

    fn next_entry(&mut self) -> io::Result<Option<(Place, Entry)>> {
        let Some((mut place, mut entry)) = self.read_line()? else { return Ok(None) };
        // Prepending copies, but an entry is bounded to a few pieces.
        while let Some((at, mut before)) = self.read_line()? {
            if !before.is_continued_by(&entry) {
                self.ahead = Some((at, before));
                break;
            }
            before.append(entry);
            (place, entry) = (at, before);
        }
        Ok(Some((place, entry)))
    }
}

/// What to do with an entry while looking for the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is one of those wanted.
    Counts,
    /// It is not.
    Skip,
}

/// The last `count` entries of the log at `path` for which `judge` says so, the oldest first.
///
/// # Errors
/// It cannot be read.
pub fn last_entries(
    path: &Path,
    count: usize,
    judge: impl Fn(&Entry) -> Verdict,
) -> io::Result<Vec<Entry>> {
    let logs = [Log::open(path)?];
    let place = find_last(&logs, count, &judge)?[0];
    let [log] = logs;
    let mut entries = Vec::new();
    let Some(mut chain) =
        place.map(|_| LogChain::new(log.links(place, false))).transpose()?.flatten()
    else {
        return Ok(entries);
    };
    while let Some(entry) = chain.next_entry()? {
        entries.push(entry);
    }
    entries.extend(std::iter::from_fn(|| chain.take_rest()));
    entries.retain(|entry| judge(entry) == Verdict::Counts);
    Ok(entries)
}

/// Finds where to begin reading each of `logs` so that together they give their last `count` entries by time for
/// which `judge` says [`Verdict::Counts`]; `None` where nothing of a log is wanted.
///
/// # Errors
/// A file cannot be read.
pub fn find_last(
    logs: &[Log],
    count: usize,
    judge: impl FnMut(&Entry) -> Verdict,
) -> io::Result<Vec<Option<Place>>> {
    find_last_in_blocks(logs, count, BLOCK, judge)
}

fn find_last_in_blocks(
    logs: &[Log],
    count: usize,
    block: usize,
    mut judge: impl FnMut(&Entry) -> Verdict,
) -> io::Result<Vec<Option<Place>>> {
    struct Source<'a> {
        entries: BackwardEntries<'a>,
        next: Option<(Place, Entry)>,
        /// An entry without a time counts as written with the one after it.
        time: u64,
    }
    impl Source<'_> {
        fn advance(&mut self) -> io::Result<Option<(Place, Entry)>> {
            let next = self.entries.next_entry()?;
            self.time = next.as_ref().and_then(|(_, entry)| entry.at_millis).unwrap_or(self.time);
            Ok(std::mem::replace(&mut self.next, next))
        }
    }
    let mut places = vec![None; logs.len()];
    if count == 0 {
        return Ok(places);
    }
    let mut sources = Vec::with_capacity(logs.len());
    for log in logs {
        let lines = BackwardLines::new(log, block);
        let entries = BackwardEntries { lines, ahead: None };
        let mut source = Source { entries, next: None, time: u64::MAX };
        source.advance()?;
        sources.push(source);
    }
    let mut left = count;
    while left > 0 {
        let waiting = sources.iter_mut().enumerate().filter(|(_, source)| source.next.is_some());
        let Some((index, latest)) = waiting.max_by_key(|(_, source)| source.time) else { break };
        let Some((place, entry)) = latest.advance()? else { break };
        match judge(&entry) {
            Verdict::Counts => {
                left -= 1;
                places[index] = Some(place);
            }
            Verdict::Skip => {}
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::fs;
    use std::os::unix::fs::FileExt as _;

    use super::super::log_line::{Piece, write_line};
    use super::super::{log_pack, log_store};
    use super::*;

    fn file_with(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(bytes, 0).expect("written");
        file
    }

    fn log_with(bytes: &[u8]) -> Log {
        Log::new(Some((file_with(bytes), bytes.len() as u64)), Vec::new())
    }

    fn entries_of(mut chain: LogChain) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(entry) = chain.next_entry().expect("readable") {
            entries.push(entry);
        }
        entries.extend(std::iter::from_fn(|| chain.take_rest()));
        entries
    }

    fn entries_from(log: &Log, place: Option<Place>) -> Vec<Entry> {
        let (Some(place), Some((file, _))) = (place, &log.current) else { return Vec::new() };
        assert_eq!(place.back, 0);
        let file = file.try_clone().expect("cloned");
        let links = vec![Link::Reader(LogReader::new(file, place.offset, u64::MAX))];
        entries_of(LogChain::new(links).expect("readable").expect("there"))
    }

    const BEGIN: Option<Place> = Some(Place { back: 0, offset: 0 });

    proptest! {
        #[test]
        fn the_last_lines_are_those_of_a_naive_reader(
            text in "(?-u:[ab\n]){0,200}",
            block in 1_usize..40,
            count in 0_usize..30,
        ) {
            let log = log_with(text.as_bytes());
            let found = find_last_in_blocks(&[log], count, block, |_| Verdict::Counts);
            let found = found.expect("readable")[0];
            let from = found.map_or(text.len(), |place| usize::try_from(place.offset).expect("small"));
            let lines: Vec<&str> = text.lines().collect();
            let naive = &lines[lines.len().saturating_sub(count)..];
            prop_assert_eq!(text[from..].lines().collect::<Vec<_>>(), naive);
        }

        #[test]
        fn the_last_entries_of_two_files_are_the_latest(
            lines in proptest::collection::vec((0..2_usize, 0..3_u8, 1..3_u32), 0..40),
            block in 1_usize..100,
            count in 0_usize..20,
        ) {
            let mut files = [Vec::new(), Vec::new()];
            for (at, (which, piece, instance)) in (0..).zip(&lines) {
                let piece = [Piece::Whole, Piece::GoesOn, Piece::CutShort][usize::from(*piece)];
                write_line(&mut files[*which], at, *instance, piece, b"text");
            }
            let logs = files.each_ref().map(|bytes| log_with(bytes));
            let found =
                find_last_in_blocks(&logs, count, block, |_| Verdict::Counts).expect("readable");
            // Naive: all entries of both read forwards; an entry counts by its first piece's time.
            let mut all: Vec<(usize, Entry)> = [0, 1]
                .into_iter()
                .flat_map(|i| entries_from(&logs[i], BEGIN).into_iter().map(move |e| (i, e)))
                .collect();
            all.sort_by_key(|(_, entry)| entry.at_millis);
            let expected = all.split_off(all.len().saturating_sub(count));
            for which in [0, 1] {
                let wanted: Vec<Entry> =
                    expected.iter().filter(|(i, _)| *i == which).map(|(_, e)| e.clone()).collect();
                prop_assert_eq!(entries_from(&logs[which], found[which]), wanted);
            }
        }

        /// However the lines are spread over files, packed or not: they are one text.
        #[test]
        fn files_put_aside_are_one_log_with_the_one_that_is_written(
            lines in proptest::collection::vec((0..3_u8, 0..6_u8), 0..40),
            block in 1_usize..100,
            count in 0_usize..50,
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("out.log");
            let (mut whole, mut part, mut files) = (Vec::new(), Vec::new(), Vec::new());
            for (at, (piece, cut)) in (0..).zip(&lines) {
                let piece = [Piece::Whole, Piece::GoesOn, Piece::CutShort][usize::from(*piece)];
                write_line(&mut part, at, 1, piece, format!("line {at}").as_bytes());
                if *cut < 2 {
                    whole.extend_from_slice(&part);
                    files.push((std::mem::take(&mut part), *cut == 1));
                }
            }
            whole.extend_from_slice(&part);
            for (at, (text, is_packed)) in (1..).zip(&files) {
                let aside = log_store::aside(&path, at);
                if *is_packed {
                    let mut packed = Vec::new();
                    log_pack::pack(&text[..], &mut packed).expect("in memory");
                    fs::write(format!("{}.gz", aside.display()), packed).expect("written");
                } else {
                    fs::write(aside, text).expect("written");
                }
            }
            let older = older(&path).expect("readable");
            prop_assert_eq!(older.len(), files.len());
            let logs = [Log::new(Some((file_with(&part), part.len() as u64)), older)];
            let found =
                find_last_in_blocks(&logs, count, block, |_| Verdict::Counts).expect("readable")[0];
            let texts = |entries: Vec<Entry>| -> Vec<Vec<u8>> {
                entries.into_iter().map(|entry| entry.text).collect()
            };
            let mut all = texts(entries_from(&log_with(&whole), BEGIN));
            let expected = all.split_off(all.len().saturating_sub(count));
            let mut links = Vec::new();
            if let Some(place) = found {
                let [log] = &logs;
                let mut from = place.offset;
                for older in log.older.iter().rev().take(place.back).rev() {
                    let body = Body::open(older).expect("readable").expect("there");
                    links.push(Link::Reader(LogReader::new(body, std::mem::take(&mut from), u64::MAX)));
                }
                links.push(Link::Reader(LogReader::new(file_with(&part), from, u64::MAX)));
            }
            let read = LogChain::new(links).expect("readable").map_or_else(Vec::new, entries_of);
            prop_assert_eq!(texts(read), expected);
        }
    }

    #[test]
    fn a_judge_skips() {
        let mut bytes = Vec::new();
        for at in 0..100 {
            write_line(&mut bytes, at, 1, Piece::Whole, format!("line {at}").as_bytes());
        }
        let logs = [log_with(&bytes)];
        let found = find_last(&logs, 50, |entry| match entry.at_millis {
            Some(at) if at >= 90 && at % 2 == 0 => Verdict::Counts,
            _ => Verdict::Skip,
        })
        .expect("readable");
        assert_eq!(entries_from(&logs[0], found[0])[0].text, b"line 90");
    }

    #[test]
    fn a_huge_line_is_bounded_and_a_file_that_shrinks_ends() {
        let bytes = vec![b'x'; 1 << 20];
        let log = log_with(&bytes);
        let mut lines = BackwardLines::new(&log, BLOCK);
        let mut total = 0;
        while let Some((_, line)) = lines.next_line().expect("readable") {
            assert!(line.len() <= LONGEST_LINE + BLOCK, "{}", line.len());
            total += line.len();
        }
        assert_eq!(total, bytes.len());
        let log = Log::new(log.current.map(|(file, _)| (file, 2 << 20)), Vec::new());
        let mut lines = BackwardLines::new(&log, BLOCK);
        assert_eq!(lines.next_line().expect("no error"), None);
    }
}
