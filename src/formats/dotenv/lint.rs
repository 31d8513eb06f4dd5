//! Lines of a `.env` file that dotenvy 0.15 reads otherwise than npm's `dotenv`, each with the way
//! of writing it that both read alike; no text made here holds anything of a value.

use std::collections::HashMap;

use super::grammar::{Assignment, Assignments, decode};
use super::lines::Lines;
use super::second::{SecondReader, Unreadable};
use super::{LONGEST, LOST_KEY};

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line on which the two readers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1, lines ending with a line feed.
    pub line: usize,
    /// The key that is set there; `None` when npm's `dotenv` sees none.
    pub key: Option<String>,
    /// What differs, in words; nothing of a value.
    pub problem: String,
    /// What to do so that both read the same, tried with both; `None` when nothing helps.
    pub fix: Option<String>,
}

/// Compares what npm's `dotenv` 16 and dotenvy 0.15.7 read from a file, assignment by assignment,
/// in the order of the lines. An empty answer means that both read the same from the whole file,
/// whatever the environment. A line on which they agree only by chance (what a variable holds,
/// where the next line has its quotes) is named too. A file longer than [`LONGEST`] is not looked at: `parse` refuses it.
///
/// dotenvy puts variables of the process that runs it into values. No `$` reaches it here, so that
/// cannot happen; call this in a process with a cleared environment all the same, so that nothing
/// depends on it.
#[must_use]
pub fn lint(bytes: &[u8]) -> Vec<Finding> {
    if bytes.len() > LONGEST {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let text = decode(bytes);
    let second = SecondReader::of(&text);
    let lines = Lines::of(bytes);
    if bytes.starts_with(BYTE_ORDER_MARK) {
        findings.push(Finding {
            line: 1,
            key: None,
            problem: "the file starts with a byte order mark, which dotenvy takes for a key".into(),
            fix: Some("save the file as UTF-8 without a byte order mark".into()),
        });
    }
    let mut seen: HashMap<&str, (usize, usize)> = HashMap::new();
    let assignments: Vec<_> = Assignments::of(&text).collect();
    let mut next = 0;
    for (place, assignment) in assignments.iter().enumerate() {
        let (first, last) = (lines.at(assignment.start), lines.at(assignment.end - 1));
        findings.extend((next..first).filter_map(|line| ignored(&second, &lines, line)));
        if first < next {
            findings.push(shared_line(assignment, first));
        } else {
            let piece = lines.piece(first, last);
            findings.extend(compare(&second, assignment, piece, first));
        }
        next = next.max(last + 1);
        seen.entry(assignment.key).or_insert((place, place)).1 = place;
    }
    findings.extend((next..lines.count()).filter_map(|line| ignored(&second, &lines, line)));
    for (first, last) in seen.into_values() {
        let (first, last) = (&assignments[first], &assignments[last]);
        if first.value != last.value {
            findings.push(twice(last, lines.at(first.start), lines.at(last.start)));
        }
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// A line that is part of no assignment: `None` when dotenvy reads nothing there either.
fn ignored(second: &SecondReader, lines: &Lines, line: usize) -> Option<Finding> {
    let problem = match second.read(lines.piece(line, line)).first()? {
        Ok(_) => "npm dotenv ignores this line, dotenvy reads a variable from it",
        Err(Unreadable) => "npm dotenv ignores this line, dotenvy stops there with an error",
    };
    let fix = "put # in front if it is a comment; if it continues the value above, quote that";
    Some(Finding { line: line + 1, key: None, problem: problem.into(), fix: Some(fix.into()) })
}

/// dotenvy knows no line end but the line feed, so it reads one assignment at most on such a line.
fn shared_line(assignment: &Assignment, line: usize) -> Finding {
    Finding {
        line: line + 1,
        key: Some(assignment.key.to_owned()),
        problem: "npm dotenv sees a second line here, parted by a lone carriage return, U+2028 or \
                  U+2029; dotenvy sees one"
            .into(),
        fix: Some("end the line before with a line feed".into()),
    }
}

fn twice(assignment: &Assignment, first: usize, last: usize) -> Finding {
    let first = first + 1;
    Finding {
        line: last + 1,
        key: Some(assignment.key.to_owned()),
        problem: format!(
            "the key is also set on line {first} with another value: npm dotenv takes the last \
             one, dotenvy the first"
        ),
        fix: Some("remove all but one".into()),
    }
}

/// Compares one assignment of npm's `dotenv` with what dotenvy reads from the lines it is on.
fn compare(
    second: &SecondReader,
    assignment: &Assignment,
    piece: &[u8],
    first_line: usize,
) -> Option<Finding> {
    let (key, value) = (assignment.key, assignment.value.as_ref());
    let line = first_line + 1;
    let finding = |problem: String, fix: Option<String>| {
        Some(Finding { line, key: Some(key.to_owned()), problem, fix })
    };
    if key == LOST_KEY {
        let problem = "npm dotenv loses this key: in JavaScript it cannot be set";
        return finding(problem.into(), Some("give the variable another name".into()));
    }
    let read = second.read(piece);
    if second.agrees(&read, key, value) {
        return None;
    }
    if std::str::from_utf8(piece).is_err() {
        let problem = "the line is not UTF-8: npm dotenv puts U+FFFD for the bytes that are not, \
                       dotenvy cannot read it";
        return finding(problem.into(), Some("save the file as UTF-8".into()));
    }
    if !second.agrees(&second.read(format!("{key}=x\n").as_bytes()), key, "x") {
        let problem = "dotenvy cannot read such a key (it takes A-Z a-z 0-9 _ and . with no digit \
                       or . in front), and no quoting of the value changes that";
        return finding(problem.into(), None);
    }
    let unix = piece.contains(&b'\r').then(|| decode(piece));
    if unix.is_some_and(|unix| second.agrees(&second.read(unix.as_bytes()), key, value)) {
        let problem = "dotenvy keeps the carriage returns inside of the value";
        return finding(problem.into(), Some("save the file with Unix line ends".into()));
    }
    let what = if read.iter().any(Result::is_err) {
        "dotenvy cannot read this value"
    } else {
        "dotenvy reads another value than npm dotenv"
    };
    let why = cause(value).map_or(String::new(), |cause| format!(": {cause}"));
    match second.agreed_quote(key, value) {
        Some(quote) => finding(format!("{what}{why}"), Some(quoting(key, value, quote))),
        None => finding(format!("{what}{why}; there is no quoting that both read alike"), None),
    }
}

/// The likely cause of a difference, by what is in the value.
fn cause(value: &str) -> Option<&'static str> {
    [
        ("$", "to dotenvy a $ starts the name of a variable"),
        ("\\", "to dotenvy a backslash starts an escape"),
        ("\n", "the value has several lines"),
        ("\r", "the value has a carriage return"),
        ("'", "to dotenvy a quote inside of the value opens a quoted part"),
        ("\"", "to dotenvy a quote inside of the value opens a quoted part"),
        ("`", "dotenvy does not know the backtick as a quote"),
        (" ", "dotenvy refuses a space outside of quotes"),
        ("#", "the two see the start of a comment differently"),
    ]
    .into_iter()
    .find_map(|(sign, cause)| value.contains(sign).then_some(cause))
}

fn quoting(key: &str, value: &str, quote: char) -> String {
    let name = if quote == '"' { "double" } else { "single" };
    let lines = if value.contains('\n') { ", each \\n as a real line break" } else { "" };
    format!("write the value in {name} quotes{lines}: {key}={quote}…{quote}")
}

#[cfg(test)]
mod tests {
    use super::super::{cases, parse};
    use super::*;
    use proptest::prelude::*;

    fn fix_of(file: &str) -> Option<String> {
        let findings = lint(file.as_bytes());
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.into_iter().next().and_then(|finding| finding.fix)
    }

    #[test]
    fn the_known_cases_that_differ_and_only_those_are_found() {
        assert_eq!(cases::CASES.iter().filter(|case| case.differs).count(), 30);
        for case in cases::CASES {
            let findings = lint(case.file);
            assert_eq!(!findings.is_empty(), case.differs, "{}: {findings:?}", case.name);
        }
    }

    #[test]
    fn the_fix_is_the_quote_that_both_read_alike() {
        let single = Some("write the value in single quotes: A='…'".to_owned());
        for line in
            ["A=pa$$w0rd", "A=\"pa$$w0rd\"", "A=hello world", "A: 1", "A={\"a\":1}", "A=a\\nb"]
        {
            assert_eq!(fix_of(line), single, "{line}");
        }
        assert_eq!(fix_of("A=it's"), Some("write the value in double quotes: A=\"…\"".into()));
        // In double quotes a $ would be substituted, a backslash at the end would escape the quote.
        for line in ["A=it's $5", "A=C:\\", "A=it's \"x\"", "MY-KEY=1", "1A=1", "A=\"a\\rb\""] {
            assert_eq!(fix_of(line), None, "{line}");
        }
        let fix = fix_of("A=\"x $y\\nz\"").expect("single quotes help");
        assert_eq!(fix, "write the value in single quotes, each \\n as a real line break: A='…'");
        assert_eq!(fix_of("A='x\r\ny'\r\n"), Some("save the file with Unix line ends".into()));
    }

    /// Runs itself once more, in an environment in which dotenvy's substitution changes nothing.
    #[test]
    fn a_variable_of_the_reader_does_not_hide_a_difference() {
        let (name, text) = ("SWRUN_TEST_LINT", "${SWRUN_TEST_LINT}");
        if std::env::var_os(name).is_none() {
            let test = "formats::dotenv::lint::tests::\
                        a_variable_of_the_reader_does_not_hide_a_difference";
            let output = std::process::Command::new(std::env::current_exe().expect("it runs"))
                .args(["--exact", test])
                .env(name, text)
                .output()
                .expect("it can run again");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let file = format!("A=1\nB={text}\n");
        let plain: Vec<_> = dotenvy::from_read_iter(file.as_bytes()).flatten().collect();
        assert_eq!(plain[1].1, text, "dotenvy alone is fooled");
        let findings = lint(file.as_bytes());
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!((findings[0].line, findings[0].key.as_deref()), (2, Some("B")));
    }

    #[test]
    fn lines_and_keys_are_named_also_behind_odd_line_ends() {
        let file =
            b"\xef\xbb\xbfA=1\r\nnot a line\r\nB='x' # c\xe2\x80\xa8C=3\r\nD=a\rE=b\nA=2\nF=\xff\n";
        let findings = lint(file);
        assert!(findings[2].problem.contains("U+2028"), "{findings:?}");
        let found: Vec<_> = findings.into_iter().map(|found| (found.line, found.key)).collect();
        let key = |key: &str| Some(key.to_owned());
        let expected = [
            (1, None),
            (2, None),
            (3, key("C")),
            (4, key("D")),
            (4, key("E")),
            (5, key("A")),
            (6, key("F")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_of_a_value_is_shown() {
        for value in
            ["geheim $x", "geheim's", "\"geheim\\x", "`geheim`", "geheim\u{85} x", "geheim'\""]
        {
            let file = format!("A={value}\nB=1\ngeheim geheim\n");
            let findings = lint(file.as_bytes());
            assert!(findings.len() >= 2, "{file}: {findings:?}");
            assert!(!format!("{findings:?}").contains("geheim"), "{findings:?}");
        }
    }

    /// The whole file as dotenvy reads it, the first value of a key, or nothing after an error; and whether
    /// it read a key twice.
    fn second_reading(bytes: &[u8]) -> (Option<Vec<(String, String)>>, bool) {
        let (mut list, mut is_twice) = (Vec::<(String, String)>::new(), false);
        for item in dotenvy::from_read_iter(bytes) {
            let Ok((key, value)) = item else { return (None, is_twice) };
            if list.iter().any(|(known, _)| *known == key) {
                is_twice = true;
            } else {
                list.push((key, value));
            }
        }
        (Some(list), is_twice)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn no_finding_means_the_same_reading_of_the_whole_file_and_a_difference_a_finding(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "A", "B", "export ", "=", "=", "=", ": ", "'", "'", "\"", "\"", "`", "#", " #", " ",
                "\t", "\n", "\n", "\nA=", "\nB='", "\nC=\"", "'\n", "\"\n", "\r\n", "\r", "\u{2028}",
                "\u{85}", "\u{a0}", "\u{feff}", "\\", "\\n", "\\'", "\\\"", "$", "$A", "${B}", "x",
                "é", "\0",
            ]), 0..14),
        ) {
            let file = pieces.concat();
            let findings = lint(file.as_bytes());
            if let Ok(first) = parse(file.as_bytes()) {
                let (second, is_twice) = second_reading(file.as_bytes());
                let same = second == Some(first);
                prop_assert!(same || !findings.is_empty(), "{file:?}: {findings:?}");
                // A $, a key that is set twice, a quote in a comment that closes in another one:
                // they can give the same by chance.
                let text = decode(file.as_bytes());
                let mut keys: Vec<_> = Assignments::of(&text).map(|found| found.key).collect();
                keys.sort_unstable();
                let by_chance = is_twice || file.contains('$') || (file.contains('#') && file.contains(['\'', '"'])) || keys.windows(2).any(|pair| pair[0] == pair[1]);
                if same && !by_chance {
                    prop_assert!(findings.is_empty(), "{file:?}: {findings:?}");
                }
            }
        }
    }
}
