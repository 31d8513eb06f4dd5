//! The lines of a `.env` file, so that each reader's places can be found in the other's text.

use super::grammar::decode;
use super::lint::BYTE_ORDER_MARK;

/// The file's lines as dotenvy sees them, and where they are in the text that npm's `dotenv` sees.
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where each line starts in the bytes and in the text, and one more for the end.
    starts: Vec<(usize, usize)>,
}

impl<'a> Lines<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        let mut starts = vec![(0, 0)];
        let mut at = (0, 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            at = (at.0 + line.len(), at.1 + decode(line).len());
            starts.push(at);
        }
        Self { bytes, starts }
    }

    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The line, from 0, on which the byte at `place` of the text is.
    pub fn at(&self, place: usize) -> usize {
        self.starts.partition_point(|(_, text)| *text <= place) - 1
    }

    /// The bytes of the lines `first` to `last`, without the byte order mark of the file.
    pub fn piece(&self, first: usize, last: usize) -> &'a [u8] {
        let piece = &self.bytes[self.starts[first].0..self.starts[last + 1].0];
        if first == 0 { piece.strip_prefix(BYTE_ORDER_MARK).unwrap_or(piece) } else { piece }
    }
}
