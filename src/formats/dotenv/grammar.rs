//! The grammar of npm's `dotenv` 16 by hand: its one regular expression, matched in linear time
//! with exactly the outcome that JavaScript's backtracking gives, `\s`, `.`, `^` and `$` included.

use std::borrow::Cow;

/// One assignment as `LINE.exec` of `dotenv/lib/main.js` finds it.
#[derive(Debug)]
pub(super) struct Assignment<'a> {
    /// What stands before the `=` or `:`.
    pub key: &'a str,
    /// The value, its quotes taken off and `\n`, `\r` in double quotes expanded.
    pub value: Cow<'a, str>,
    /// Where `export` or the key starts, in bytes of the text.
    pub start: usize,
    /// Where the value ends, its quotes included.
    pub end: usize,
}

/// The assignments of a text without carriage returns (see [`decode`]), in its order:
///
/// ```text
/// /^\s*(?:export\s+)?([\w.-]+)(?:\s*=\s*?|:\s+?)
///  (\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?\s*(?:#.*)?$/mg
/// ```
///
/// Why no backtracking is needed: a run of `\s` or of key characters is followed by something that
/// is neither, so only its longest form can match, and behind the `=` (or `:` and one space) the
/// unquoted or the empty value always matches, so the lazy `\s*?` never grows. The one real choice
/// is the closing quote, see [`Assignments::quoted_end`].
pub(super) struct Assignments<'a> {
    text: &'a str,
    /// `lastIndex` of the regular expression.
    at: usize,
}

/// The text of a file as `fs.readFileSync(path, "utf8")` and the first step of `parse` give it: bad
/// UTF-8 is U+FFFD, a byte order mark stays, every line ends with `\n`.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text }
}

/// JavaScript's `\s`, which is also what its `trim` takes away.
fn is_space(c: char) -> bool {
    matches!(c, '\t'..='\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}'
        | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}')
}

/// What JavaScript's `^` follows, its `$` precedes and its `.` is not.
fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// The first place from `at` on where `wanted` does not hold.
fn skip(text: &str, at: usize, wanted: fn(char) -> bool) -> usize {
    text[at..].find(|c| !wanted(c)).map_or(text.len(), |length| at + length)
}

/// The first place from `at` on where `^` matches.
fn line_start(text: &str, at: usize) -> Option<usize> {
    if text[..at].chars().next_back().is_none_or(is_line_end) {
        return Some(at);
    }
    let end = at + text[at..].find(is_line_end)?;
    Some(end + text[end..].chars().next().map_or(0, char::len_utf8))
}

impl<'a> Assignments<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The key's start and end and where the value may begin, when an assignment starts at `begin`.
    fn head(&self, begin: usize) -> Option<(usize, usize, usize)> {
        let text = self.text;
        let is_key_at = |at: usize| text[at..].starts_with(is_key);
        let mut key = begin;
        if text[begin..].starts_with("export") {
            let word = begin + "export".len();
            let next = skip(text, word, is_space);
            // `export=1` and `exported=1` are keys themselves.
            if next > word && is_key_at(next) {
                key = next;
            }
        }
        let end = skip(text, key, is_key);
        if end == key {
            return None;
        }
        let equals = skip(text, end, is_space);
        if text[equals..].starts_with('=') {
            return Some((key, end, equals + 1));
        }
        let space = text[end..].strip_prefix(':')?.chars().next().filter(|c| is_space(*c))?;
        Some((key, end, end + 1 + space.len_utf8()))
    }

    /// Where a quoted value that begins at `at`, perhaps behind spaces and lines, ends.
    ///
    /// The closing quote is the first one without a backslash before it. When something other than
    /// a comment follows that on its line, the expression goes back to the last quote *with* a
    /// backslash that does end its line; when there is none, the value counts as unquoted.
    fn quoted_end(&self, at: usize) -> Option<usize> {
        let open = skip(self.text, at, is_space);
        let bytes = self.text.as_bytes();
        let quote = *bytes.get(open).filter(|byte| matches!(byte, b'\'' | b'"' | b'`'))?;
        let mut place = open + 1;
        let mut escaped = None;
        while let Some(byte) = bytes.get(place) {
            if *byte == b'\\' && bytes.get(place + 1) == Some(&quote) {
                place += 2;
                escaped = self.match_end(place).map(|_| place).or(escaped);
            } else if *byte == quote {
                place += 1;
                return self.match_end(place).map(|_| place).or(escaped);
            } else {
                place += 1;
            }
        }
        escaped
    }

    /// Where `\s*(?:#.*)?$` ends behind a value that ended at `at`, `None` when it does not match.
    fn match_end(&self, at: usize) -> Option<usize> {
        let next = skip(self.text, at, is_space);
        if self.text[next..].starts_with('#') {
            return Some(skip(self.text, next, |c| !is_line_end(c)));
        }
        if next == self.text.len() {
            return Some(next);
        }
        self.text[at..next].rfind(is_line_end).map(|length| at + length)
    }
}

impl<'a> Iterator for Assignments<'a> {
    type Item = Assignment<'a>;

    fn next(&mut self) -> Option<Assignment<'a>> {
        let text = self.text;
        loop {
            let start = skip(text, line_start(text, self.at)?, is_space);
            let Some((key, key_end, at)) = self.head(start) else {
                // Each line start up to here leads to here again: go on behind it.
                self.at = start + text[start..].chars().next()?.len_utf8();
                continue;
            };
            let end = self.quoted_end(at).unwrap_or_else(|| {
                text[at..].find(['#', '\r', '\n']).map_or(text.len(), |n| at + n)
            });
            self.at = self.match_end(end).unwrap_or(end);
            let value = finish(&text[at..end]);
            return Some(Assignment { key: &text[key..key_end], value, start, end });
        }
    }
}

/// What `parse` of `dotenv/lib/main.js` makes of the matched value.
fn finish(matched: &str) -> Cow<'_, str> {
    let trimmed = matched.trim_matches(is_space);
    let value = without_quotes(trimmed);
    if trimmed.starts_with('"') && value.contains('\\') {
        return value.replace("\\n", "\n").replace("\\r", "\r").into();
    }
    value
}

/// `value.replace(/^(['"`])([\s\S]*)\1$/mg, "$2")`: from a quote at the start of a line to the last
/// such quote at the end of a line, again and again; not only around the whole value.
fn without_quotes(value: &str) -> Cow<'_, str> {
    let is_quote = |c: &char| matches!(c, '\'' | '"' | '`');
    let first = value.chars().next().filter(is_quote);
    if let Some(inner) = first.and_then(|quote| value[1..].strip_suffix(quote)) {
        return inner.into();
    }
    let closing = |quote: char| {
        let ends_line = |at: &usize| value[at + 1..].chars().next().is_none_or(is_line_end);
        value.rmatch_indices(quote).map(|(at, _)| at).find(ends_line)
    };
    let closings = ['\'', '"', '`'].map(closing);
    if closings == [None; 3] {
        return value.into();
    }
    let (mut bare, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(open) = line_start(value, at) {
        let Some(c) = value[open..].chars().next() else { break };
        let close = match c {
            '\'' => closings[0],
            '"' => closings[1],
            '`' => closings[2],
            _ => None,
        };
        at = open + c.len_utf8();
        if let Some(close) = close.filter(|close| *close > open) {
            bare.push_str(&value[copied..open]);
            bare.push_str(&value[open + 1..close]);
            copied = close + 1;
            at = copied;
        }
    }
    bare.push_str(&value[copied..]);
    bare.into()
}
