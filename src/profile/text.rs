//! Lines, columns and the digest of a profile's text.

use super::problem::Position;

/// Tells line and column of a byte offset.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The place of the character that `offset` (in bytes; one past the end is the end) lies in.
    pub(super) fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        Position { line, column: self.text[start..offset].chars().count() + 1 }
    }
}

/// FNV-1a of 64 bits in hex (draft-eastlake-fnv): only to notice that a text was edited.
pub(super) fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_offsets_never_panic() {
        let lines = Lines::of("a\néb\n");
        let at = |offset| {
            let Position { line, column } = lines.position(offset);
            (line, column)
        };
        assert_eq!([at(0), at(1), at(2), at(3), at(4)], [(1, 1), (1, 2), (2, 1), (2, 1), (2, 2)]);
        assert_eq!([at(5), at(6), at(99)], [(2, 3), (3, 1), (3, 1)]);
        assert_eq!(Lines::of("").position(7), Position::START);
    }

    #[test]
    fn the_digest_is_fnv_1a() {
        // Test vectors of the draft.
        assert_eq!(digest(""), "cbf29ce484222325");
        assert_eq!(digest("foobar"), "85944171f73967e8");
    }
}
