//! Reading log files backwards from their ends, to find where their last N entries begin: what lies
//! before is never read, and what is found is not held (a second, forward pass shows it).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::log_file::Entry;
use super::log_line::LONGEST_LINE;

/// How much is read at once, in bytes.
const BLOCK: usize = 64 << 10;

/// The lines of a file from the last to the first.
#[derive(Debug)]
struct BackwardLines<'a> {
    file: &'a File,
    block: usize,
    /// Where `buffer` begins in the file.
    start: u64,
    /// What lies between `start` and the lines already given.
    buffer: Vec<u8>,
}

impl<'a> BackwardLines<'a> {
    fn new(file: &'a File, end: u64, block: usize) -> Self {
        Self { file, block, start: end, buffer: Vec::new() }
    }

    /// The line before the ones given so far: where it begins, and its bytes without the newline.
    fn next_line(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let body = self.buffer.len().saturating_sub(1);
            let begin = match self.buffer[..body].iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => newline + 1,
                None if self.start == 0 && self.buffer.is_empty() => return Ok(None),
                None if self.start == 0 || self.buffer.len() > LONGEST_LINE => 0,
                None => {
                    if self.read_block()? {
                        continue;
                    }
                    return Ok(None);
                }
            };
            let mut line = self.buffer.split_off(begin);
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            return Ok(Some((self.start + begin as u64, line)));
        }
    }

    /// Reads the block before `start`; false when the file has become shorter meanwhile.
    fn read_block(&mut self) -> io::Result<bool> {
        let length = self.start.min(self.block as u64);
        let mut block = vec![0; usize::try_from(length).unwrap_or(self.block)];
        match self.file.read_exact_at(&mut block, self.start - length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        self.start -= length;
        block.append(&mut self.buffer);
        self.buffer = block;
        Ok(true)
    }
}

/// The entries of a file from the last to the first.
#[derive(Debug)]
struct BackwardEntries<'a> {
    lines: BackwardLines<'a>,
    /// A line that was read to see whether it belongs to the entry after it.
    ahead: Option<Entry>,
}

impl BackwardEntries<'_> {
    fn read_line(&mut self) -> io::Result<Option<Entry>> {
        match self.ahead.take() {
            Some(entry) => Ok(Some(entry)),
            None => {
                let line = self.lines.next_line()?;
                Ok(line.map(|(offset, line)| Entry::from_line(offset, &line)))
            }
        }
    }

    fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let Some(mut entry) = self.read_line()? else { return Ok(None) };
        // Prepending copies, but an entry is bounded to a few pieces.
        while let Some(mut before) = self.read_line()? {
            if !before.is_continued_by(&entry) {
                self.ahead = Some(before);
                break;
            }
            before.append(entry);
            entry = before;
        }
        Ok(Some(entry))
    }
}

/// What to do with an entry while looking for the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is one of those wanted.
    Counts,
    /// It is not.
    Skip,
    /// It and all before it are too old.
    Stop,
}

/// Finds where to begin reading each of `files` (with their lengths in bytes) so that together they
/// give their last `count` entries by time for which `judge` says [`Verdict::Counts`].
///
/// # Errors
/// A file cannot be read.
pub fn find_last(
    files: &[(&File, u64)],
    count: usize,
    judge: impl FnMut(&Entry) -> Verdict,
) -> io::Result<Vec<u64>> {
    find_last_in_blocks(files, count, BLOCK, judge)
}

fn find_last_in_blocks(
    files: &[(&File, u64)],
    count: usize,
    block: usize,
    mut judge: impl FnMut(&Entry) -> Verdict,
) -> io::Result<Vec<u64>> {
    struct Source<'a> {
        entries: BackwardEntries<'a>,
        next: Option<Entry>,
        /// An entry without a time counts as written with the one after it.
        time: u64,
    }
    impl Source<'_> {
        fn advance(&mut self) -> io::Result<Option<Entry>> {
            let next = self.entries.next_entry()?;
            self.time = next.as_ref().and_then(|entry| entry.at_millis).unwrap_or(self.time);
            Ok(std::mem::replace(&mut self.next, next))
        }
    }
    let mut offsets: Vec<u64> = files.iter().map(|(_, length)| *length).collect();
    let mut sources = Vec::with_capacity(files.len());
    for (file, length) in files {
        let lines = BackwardLines::new(file, *length, block);
        let entries = BackwardEntries { lines, ahead: None };
        let mut source = Source { entries, next: None, time: u64::MAX };
        source.advance()?;
        sources.push(source);
    }
    let mut left = count;
    while left > 0 {
        let waiting = sources.iter_mut().enumerate().filter(|(_, source)| source.next.is_some());
        let Some((index, latest)) = waiting.max_by_key(|(_, source)| source.time) else { break };
        let Some(entry) = latest.advance()? else { break };
        match judge(&entry) {
            Verdict::Counts => {
                left -= 1;
                offsets[index] = entry.offset;
            }
            Verdict::Skip => {}
            Verdict::Stop => latest.next = None,
        }
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::log_file::LogReader;
    use super::super::log_line::{Piece, write_line};
    use super::*;

    fn file_with(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(bytes, 0).expect("written");
        file
    }

    fn entries_from(file: &File, offset: u64) -> Vec<Entry> {
        let mut reader = LogReader::new(file.try_clone().expect("cloned"), offset, u64::MAX);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry().expect("readable") {
            entries.push(entry);
        }
        entries.extend(std::iter::from_fn(|| reader.take_rest()));
        entries
    }

    proptest! {
        #[test]
        fn the_last_lines_are_those_of_a_naive_reader(
            text in "(?-u:[ab\n]){0,200}",
            block in 1_usize..40,
            count in 0_usize..30,
        ) {
            let file = file_with(text.as_bytes());
            let found = find_last_in_blocks(&[(&file, text.len() as u64)], count, block, |_| Verdict::Counts);
            let from = usize::try_from(found.expect("readable")[0]).expect("small");
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
            let opened = files.each_ref().map(|bytes| file_with(bytes));
            let with_lengths = [0, 1].map(|i| (&opened[i], files[i].len() as u64));
            let found = find_last_in_blocks(&with_lengths, count, block, |_| Verdict::Counts)
                .expect("readable");
            // Naive: all entries of both read forwards; an entry counts by its first piece's time.
            let mut all: Vec<(usize, Entry)> = [0, 1]
                .into_iter()
                .flat_map(|i| entries_from(&opened[i], 0).into_iter().map(move |e| (i, e)))
                .collect();
            all.sort_by_key(|(_, entry)| entry.at_millis);
            let expected = all.split_off(all.len().saturating_sub(count));
            for which in [0, 1] {
                let wanted: Vec<Entry> =
                    expected.iter().filter(|(i, _)| *i == which).map(|(_, e)| e.clone()).collect();
                prop_assert_eq!(entries_from(&opened[which], found[which]), wanted);
            }
        }
    }

    #[test]
    fn a_judge_skips_and_stops() {
        let mut bytes = Vec::new();
        for at in 0..100 {
            write_line(&mut bytes, at, 1, Piece::Whole, format!("line {at}").as_bytes());
        }
        let file = file_with(&bytes);
        let found = find_last(&[(&file, bytes.len() as u64)], 50, |entry| match entry.at_millis {
            Some(at) if at < 90 => Verdict::Stop,
            Some(at) if at % 2 == 0 => Verdict::Counts,
            _ => Verdict::Skip,
        })
        .expect("readable");
        assert_eq!(entries_from(&file, found[0])[0].text, b"line 90");
    }

    #[test]
    fn a_huge_line_is_bounded_and_a_file_that_shrinks_ends() {
        let bytes = vec![b'x'; 1 << 20];
        let file = file_with(&bytes);
        let mut lines = BackwardLines::new(&file, bytes.len() as u64, BLOCK);
        let mut total = 0;
        while let Some((_, line)) = lines.next_line().expect("readable") {
            assert!(line.len() <= LONGEST_LINE + BLOCK, "{}", line.len());
            total += line.len();
        }
        assert_eq!(total, bytes.len());
        let mut lines = BackwardLines::new(&file, 2 << 20, BLOCK);
        assert_eq!(lines.next_line().expect("no error"), None);
    }
}
