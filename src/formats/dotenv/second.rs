//! The second reader of a `.env` file: the crate dotenvy 0.15, kept away from the environment.

use super::grammar::{Assignments, decode};

/// dotenvy gave an error; its text has the value in it, so nothing of it is kept.
pub(super) struct Unreadable;

/// dotenvy, kept from substituting: each `$` is given to it as a backslash and a sign that the file
/// does not have. In single quotes, the only place where it leaves a `$` alone, both come back as
/// they are; elsewhere that is an escape that it refuses. (An escaped `\$` comes back with a
/// backslash less, which npm's `dotenv` never takes away.)
pub(super) struct SecondReader {
    dollar: String,
}

impl SecondReader {
    pub fn of(text: &str) -> Self {
        // A plane for private use has more signs than 64 KiB can hold.
        let sign = ('\u{f0000}'..='\u{ffffd}').find(|sign| !text.contains(*sign));
        Self { dollar: format!("\\{}", sign.unwrap_or('\u{f0000}')) }
    }

    /// Everything that dotenvy reads from these lines.
    pub fn read(&self, piece: &[u8]) -> Vec<Result<(String, String), Unreadable>> {
        let parts: Vec<&[u8]> = piece.split(|byte| *byte == b'$').collect();
        let piece = parts.join(self.dollar.as_bytes());
        dotenvy::from_read_iter(&piece[..]).map(|read| read.map_err(|_| Unreadable)).collect()
    }

    /// Whether that is this one assignment and nothing else.
    pub fn agrees(
        &self,
        read: &[Result<(String, String), Unreadable>],
        key: &str,
        value: &str,
    ) -> bool {
        matches!(read, [Ok((k, v))] if k == key && *v == value.replace('$', &self.dollar))
    }

    /// The quote within which both readers read `value`, both tried, also with a line behind it
    /// that a quote left open would swallow. npm's backtick is no quote to dotenvy.
    pub fn agreed_quote(&self, key: &str, value: &str) -> Option<char> {
        ['\'', '"'].into_iter().find(|quote| {
            let line = format!("{key}={quote}{value}{quote}\n");
            [line.clone(), format!("{line}{quote}\n")].iter().all(|file| {
                let text = decode(file.as_bytes());
                let read: Vec<_> =
                    Assignments::of(&text).map(|read| (read.key, read.value)).collect();
                matches!(&read[..], [(k, v)] if *k == key && v == value)
            }) && self.agrees(&self.read(line.as_bytes()), key, value)
        })
    }
}
