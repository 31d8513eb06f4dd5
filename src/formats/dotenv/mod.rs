//! `.env` files, read to the very values that npm's `dotenv` 16 reads: an app's own `dotenv` never
//! overrides what is set, so a value misread here would replace the right one. The crate dotenvy
//! is the second reader: [`lint`] tells on which lines the two differ.

#[cfg(test)]
mod cases;
mod grammar;
mod lines;
mod lint;
mod second;

use std::collections::BTreeMap;

pub use lint::{Finding, lint};

use grammar::{Assignment, Assignments, decode};

/// The longest file that is read, in bytes. Who reads a file stops one byte behind it.
pub const LONGEST: usize = 64 << 10;

/// `obj.__proto__ = "text"` does nothing in JavaScript: npm's `dotenv` loses this key.
const LOST_KEY: &str = "__proto__";

/// So much of a key is shown, in characters: a key can be as long as the file.
const LONGEST_KEY_SHOWN: usize = 64;

/// Why a `.env` file cannot be used; never with a value in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct DotenvError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: DotenvProblem,
}

/// What is wrong with a `.env` file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DotenvProblem {
    /// An environment cannot hold it: environ(7), its strings end with a NUL.
    #[error("the value of \"{0}\" has a NUL byte, which no environment can hold: remove it")]
    NulInValue(String),
    /// The file is longer than [`LONGEST`], which it is on that line.
    #[error("the file is longer than 64 KiB: is it a .env file?")]
    TooLong,
}

/// A line that sets `key` to `value`, quoted so that every reader reads it alike where that can be; `None` where no
/// quoting gives the value back.
#[must_use]
pub fn line(key: &str, value: &str) -> Option<String> {
    let line = |quote: char| format!("{key}={quote}{value}{quote}\n");
    let agreed = second::SecondReader::of(value).agreed_quote(key, value).map(line);
    agreed.or_else(|| {
        let quoted = ['\'', '"', '`'].into_iter().map(line);
        // With a line behind it that a quote left open would swallow.
        let is_read = |line: &String| {
            let file = format!("{line}BEHIND=1\n");
            let read = parse(file.as_bytes()).unwrap_or_default();
            matches!(&read[..], [(k, v), (behind, _)] if k == key && v == value && behind == "BEHIND")
        };
        quoted.into_iter().find(is_read)
    })
}

/// Reads the content of a `.env` file: keys and values in the order in which the keys first appear,
/// each key once, with its last value. Quick enough for each start of an app: linear in the length.
///
/// The same as `dotenv.parse(fs.readFileSync(path, { encoding: "utf8" }))` with npm's `dotenv` 16
/// (`lib/main.js`), held against it by `tests/dotenv_differential.rs`; only where an environment
/// cannot hold what that gives, it is an error.
///
/// # Errors
/// A NUL in a value that counts; more than [`LONGEST`] bytes.
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, DotenvError> {
    if bytes.len() > LONGEST {
        let line = line_number(&bytes[..LONGEST]);
        return Err(DotenvError { line, problem: DotenvProblem::TooLong });
    }
    let text = decode(bytes);
    let mut places = BTreeMap::new();
    let mut last: Vec<Assignment> = Vec::new();
    for assignment in Assignments::of(&text).filter(|assignment| assignment.key != LOST_KEY) {
        let place = *places.entry(assignment.key).or_insert(last.len());
        if place < last.len() {
            last[place] = assignment;
        } else {
            last.push(assignment);
        }
    }
    let owned = |Assignment { key, value, start, .. }: Assignment| {
        if value.contains('\0') {
            let line = line_number(text[..start].as_bytes());
            let key = key.chars().take(LONGEST_KEY_SHOWN).collect();
            return Err(DotenvError { line, problem: DotenvProblem::NulInValue(key) });
        }
        Ok((key.to_owned(), value.into_owned()))
    };
    last.into_iter().map(owned).collect()
}

/// The number, from 1, of the line on which the text behind `before` starts.
fn line_number(before: &[u8]) -> usize {
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_known_case_gives_what_npm_dotenv_gives() {
        assert_eq!(cases::CASES.len(), 50);
        for case in cases::CASES {
            let read = match parse(case.file) {
                Ok(read) => read,
                // The one case with a NUL, which npm reads and no environment can hold.
                Err(error) => {
                    assert_eq!((case.name, error.line), ("nul", 1));
                    continue;
                }
            };
            let read: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(read, case.npm, "{}", case.name);
        }
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let read = parse(b"A=1\nB=2\nA=3\n").expect("no NUL in it");
        assert_eq!(read, [("A".into(), "3".into()), ("B".into(), "2".into())]);
        assert_eq!(parse(b"__proto__=1\n"), Ok(Vec::new()));
    }

    #[test]
    fn an_error_names_line_and_key_and_never_the_value() {
        let error = parse(b"\nA=1\r\n B='geheim\0'\n").expect_err("a NUL");
        assert_eq!(error.line, 3);
        let text = format!("{error} {error:?}");
        assert!(text.starts_with("line 3: the value of \"B\" has a NUL byte"), "{text}");
        assert!(!text.contains("geheim"), "{text}");
        // The NUL of a value that does not count, or of a comment, is no one's trouble.
        assert_eq!(parse(b"A=\0\nA=1 #\0\n"), Ok(vec![("A".into(), "1".into())]));
    }

    #[test]
    fn a_file_over_the_bound_is_refused() {
        let mut file = b"A=1\n#".repeat(LONGEST / 5);
        file.resize(LONGEST, b'x');
        assert_eq!(parse(&file).map(|read| read.len()), Ok(1));
        file.push(b'x');
        let error = parse(&file).expect_err("a byte too long");
        assert_eq!(error, DotenvError { line: 13108, problem: DotenvProblem::TooLong });
    }

    #[test]
    fn hostile_files_take_linear_time_of_both_readers() {
        // With backtracking or a scan from each line start these take minutes, not milliseconds.
        let whole = |piece: &str| piece.repeat(LONGEST / piece.len());
        for piece in
            ["\n", "A\n\n", "export\n", "A='\\'x\n", "A=\"\n", "'\u{2028}", "A='\\' ", "\\'"]
        {
            for head in ["", "A='", "A=x\u{2028}", "A="] {
                let mut file = head.to_owned() + &whole(piece);
                file.truncate(file.floor_char_boundary(LONGEST));
                assert!(parse(file.as_bytes()).is_ok());
                let _ = lint(file.as_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = lint(&bytes);
        }

        #[test]
        fn no_soup_of_its_own_signs_makes_it_panic(text in r#"[A'"`\\=:# \n\r\u{2028}$n]{0,60}"#) {
            let _ = parse(text.as_bytes());
            let _ = lint(text.as_bytes());
        }
    }
}
