//! The logs of several environments as one, by time: the last lines, then what comes.

use std::io;
use std::path::{Path, PathBuf};

use super::look::Stream;
use crate::formats::log_back::{Log, Verdict, find_last};
use crate::formats::log_chain::{LogChain, last_of};
use crate::formats::log_file::Entry;
use crate::formats::log_follow::FollowedLog;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Not before, in milliseconds since 1970.
    pub since: Option<u64>,
    /// Not after, in milliseconds since 1970.
    pub until: Option<u64>,
    /// The text contains this.
    pub pattern: Option<regex_lite::Regex>,
}

impl Filter {
    /// Whether a line is wanted. The host's clock may have been set back: an older line can come after a newer one.
    #[must_use]
    pub fn judge(&self, entry: &Entry) -> Verdict {
        if self.since.is_some_and(|since| entry.at_millis.is_some_and(|at| at < since)) {
            return Verdict::Skip;
        }
        if self.until.is_some_and(|until| entry.at_millis.is_some_and(|at| at > until)) {
            return Verdict::Skip;
        }
        let is_found =
            |pattern: &regex_lite::Regex| pattern.is_match(&String::from_utf8_lossy(&entry.text));
        if self.pattern.as_ref().is_none_or(is_found) { Verdict::Counts } else { Verdict::Skip }
    }
}

/// One log file.
#[derive(Debug)]
pub struct Source {
    /// Of which environment, counted by the caller.
    pub index: usize,
    /// Which of its two.
    pub stream: Stream,
    reading: Reading,
    /// An entry not yet given, and the time it counts for.
    next: Option<Entry>,
    time: u64,
}

#[derive(Debug)]
enum Reading {
    /// To its end as it was when it was opened.
    Once(LogChain),
    /// On and on.
    On(FollowedLog),
}

impl Source {
    fn fill(&mut self) -> io::Result<()> {
        if self.next.is_none() {
            self.next = match &mut self.reading {
                Reading::On(log) => log.next_entry()?,
                Reading::Once(chain) => match chain.next_entry()? {
                    Some(entry) => Some(entry),
                    None => chain.take_rest(),
                },
            };
            // A line without a time counts as written with the one before it.
            let time = self.next.as_ref().and_then(|entry| entry.at_millis);
            self.time = time.unwrap_or(self.time);
        }
        Ok(())
    }
}

/// Opens the logs in `folder` so that they begin with their last `lines` wanted entries, both streams
/// taken together, of the files put aside too. A log that is not there (yet) is no error; of what is left
/// out `told` hears.
///
/// # Errors
/// The file that cannot be opened or read, and why.
pub fn open(
    folder: &Path,
    index: usize,
    streams: &[Stream],
    lines: usize,
    filter: &Filter,
    follow: bool,
    told: impl Fn(&Path),
) -> Result<Vec<Source>, (PathBuf, io::Error)> {
    let paths: Vec<PathBuf> =
        streams.iter().map(|stream| folder.join(format!("{}.log", stream.word()))).collect();
    let mut logs = Vec::with_capacity(paths.len());
    for path in &paths {
        let log = Log::open(path).map_err(|error| (path.clone(), error))?;
        logs.push(log.since(filter.since));
    }
    let places = find_last(&logs, lines, |entry| filter.judge(entry))
        .map_err(|error| (folder.to_owned(), error))?;
    let mut sources = Vec::new();
    for (((stream, path), log), place) in streams.iter().zip(paths).zip(logs).zip(places) {
        log.unreadable().iter().for_each(|path| told(path));
        let known = last_of(&log.older);
        let failed = |error| (path.clone(), error);
        let chain = LogChain::new(log.links(place, follow)).map_err(failed)?;
        let reading = match chain {
            _ if follow => Reading::On(FollowedLog::new(path, chain, known)),
            Some(chain) => Reading::Once(chain),
            None => continue,
        };
        sources.push(Source { index, stream: *stream, reading, next: None, time: 0 });
    }
    Ok(sources)
}

/// Gives all entries that are there now and wanted to `show`, oldest first.
///
/// # Errors
/// A file cannot be read, or what `show` fails with.
pub fn drain<E: From<io::Error>>(
    sources: &mut [Source],
    filter: &Filter,
    mut show: impl FnMut(&Source, &Entry) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        for source in sources.iter_mut() {
            source.fill()?;
        }
        let waiting = sources.iter_mut().filter(|source| source.next.is_some());
        let Some(oldest) = waiting.min_by_key(|source| source.time) else { return Ok(()) };
        if let Some(entry) = oldest.next.take()
            && filter.judge(&entry) == Verdict::Counts
        {
            show(oldest, &entry)?;
        }
    }
}
