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
#[path = "log_back_tests.rs"]
mod tests;
