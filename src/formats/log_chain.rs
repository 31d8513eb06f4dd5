//! The files of a log read one after the other, as one text.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;

use super::log_file::{Entry, LogReader, open_log};
use super::log_store::{self, Body, Older};

/// A file that is still to be read.
#[derive(Debug)]
pub enum Link {
    /// From its beginning; opened when it is its turn.
    Older(Older),
    /// Open already.
    Reader(LogReader),
}

impl Link {
    /// `None`: it was removed, or cannot be read; those after it can.
    fn open(self) -> io::Result<Option<LogReader>> {
        match self {
            Self::Reader(reader) => Ok(Some(reader)),
            Self::Older(older) => {
                let body = Body::open(&older).ok().flatten();
                Ok(body.map(|body| LogReader::new(body, 0, u64::MAX)))
            }
        }
    }
}

/// Several files as one.
#[derive(Debug)]
pub struct LogChain {
    reader: LogReader,
    links: VecDeque<Link>,
}

impl LogChain {
    /// Reads `links` in their order; `None` when none of them is there.
    ///
    /// # Errors
    /// The first cannot be opened.
    pub fn new(links: Vec<Link>) -> io::Result<Option<Self>> {
        let mut links = VecDeque::from(links);
        while let Some(link) = links.pop_front() {
            if let Some(reader) = link.open()? {
                return Ok(Some(Self { reader, links }));
            }
        }
        Ok(None)
    }

    /// The next entry that is complete; `None` at the end of the last file.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        loop {
            match self.reader.next_entry() {
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) => {}
                // Of a file put aside the rest is lost, and not what follows it.
                Err(error) if self.links.is_empty() => return Err(error),
                Err(_) => {}
            }
            let Some(link) = self.links.pop_front() else { return Ok(None) };
            let Some(next) = link.open()? else { continue };
            if let Some(torn) = self.reader.go_on(next) {
                return Ok(Some(torn));
            }
        }
    }

    /// What is left at the end of the last file; to be called until it is `None`.
    pub fn take_rest(&mut self) -> Option<Entry> {
        self.reader.take_rest()
    }

    /// Reads these too, when it has come to its end.
    pub fn extend(&mut self, links: Vec<Link>) {
        self.links.extend(links);
    }

    /// The file that is read at the end.
    #[must_use]
    pub fn last(&self) -> &LogReader {
        &self.reader
    }

    /// The same.
    pub fn last_mut(&mut self) -> &mut LogReader {
        &mut self.reader
    }
}

/// Opens the file at `path`, with what was put aside before it at that moment; `None`: it is not there.
///
/// # Errors
/// It, or its folder, cannot be read.
pub fn open_current(path: &Path) -> io::Result<Option<(File, Vec<Older>)>> {
    loop {
        let before = log_store::older(path)?;
        let file = match open_log(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let after = log_store::older(path)?;
        // Put aside between the two looks, it would be taken for its own successor.
        if last_of(&before) == last_of(&after) {
            return Ok(Some((file, after)));
        }
    }
}

/// When the last of them was put aside, in milliseconds since 1970; 0 for none.
#[must_use]
pub fn last_of(older: &[Older]) -> u64 {
    older.last().map_or(0, |last| last.at_millis)
}
