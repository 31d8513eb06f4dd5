//! The logs of several environments as one, by time: the last lines, then what comes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::look::Stream;
use crate::formats::log_back::{Verdict, find_last};
use crate::formats::log_file::{Entry, LogReader, open_log};
use crate::formats::log_follow::FollowedLog;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Not before, in milliseconds since 1970.
    pub since: Option<u64>,
    /// The text contains this.
    pub pattern: Option<regex_lite::Regex>,
}

impl Filter {
    /// Whether a line is wanted, and whether there is any use in looking at older ones.
    #[must_use]
    pub fn judge(&self, entry: &Entry) -> Verdict {
        if self.since.is_some_and(|since| entry.at_millis.is_some_and(|at| at < since)) {
            return Verdict::Stop;
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
    Once(LogReader),
    /// On and on.
    On(FollowedLog),
}

impl Source {
    fn fill(&mut self) -> io::Result<()> {
        if self.next.is_none() {
            self.next = match &mut self.reading {
                Reading::On(log) => log.next_entry()?,
                Reading::Once(reader) => match reader.next_entry()? {
                    Some(entry) => Some(entry),
                    None => reader.take_rest(),
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
/// taken together. A log that is not there (yet) is no error.
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
) -> Result<Vec<Source>, (PathBuf, io::Error)> {
    let mut opened = Vec::with_capacity(streams.len());
    for stream in streams {
        let path = folder.join(format!("{}.log", stream.word()));
        let file = match open_log(&path) {
            Ok(file) => {
                let length = file.metadata().map_err(|error| (path.clone(), error))?.len();
                Some((file, length))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err((path, error)),
        };
        opened.push((*stream, path, file));
    }
    let files: Vec<(&File, u64)> = opened
        .iter()
        .filter_map(|(_, _, file)| file.as_ref().map(|(file, length)| (file, *length)))
        .collect();
    let offsets = find_last(&files, lines, |entry| filter.judge(entry))
        .map_err(|error| (folder.to_owned(), error))?;
    let mut offsets = offsets.into_iter();
    let mut sources = Vec::new();
    for (stream, path, file) in opened {
        let start = file.map(|(file, length)| (file, offsets.next().unwrap_or(length), length));
        let reading = match (follow, start) {
            (true, start) => {
                let reader = start.map(|(file, from, _)| LogReader::new(file, from, u64::MAX));
                Reading::On(FollowedLog::new(path, reader))
            }
            (false, Some((file, from, length))) => {
                Reading::Once(LogReader::new(file, from, length))
            }
            (false, None) => continue,
        };
        sources.push(Source { index, stream, reading, next: None, time: 0 });
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
