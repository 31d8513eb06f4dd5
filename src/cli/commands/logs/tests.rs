//! `swrun logs` on real files in a folder, into a pipe.

use std::io::{BufRead, BufReader, Read};

use clap::Parser;

use super::*;
use crate::cli::args::{Args, Command};
use crate::formats::log_line::{LONGEST_TEXT, Piece, write_line};

struct Host {
    _folder: tempfile::TempDir,
    places: Places,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { places: Places::below(folder.path()), _folder: folder }
    }

    fn write(&self, name: &str, file: &str, lines: &[(u64, &str)]) {
        let folder = self.places.logs(&EnvName::parse(name).expect("a name"));
        std::fs::create_dir_all(&folder).expect("made");
        let mut bytes = Vec::new();
        for (at, text) in lines {
            write_line(&mut bytes, *at, 1, Piece::Whole, text.as_bytes());
        }
        let path = folder.join(file);
        let file = std::fs::File::options().create(true).append(true).open(path);
        io::Write::write_all(&mut file.expect("opened"), &bytes).expect("written");
    }

    fn logs(&self, line: &str) -> (Ended, String) {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut output = Output::into_sink(writer);
        let ended = run(&self.places, &parse(line), &mut output);
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        (ended, text)
    }
}

fn parse(line: &str) -> Logs {
    let args = Args::try_parse_from(["swrun", "logs"].into_iter().chain(line.split_whitespace()));
    let Command::Logs(logs) = args.expect("it parses").command else { panic!("not logs") };
    logs
}

fn two_environments() -> Host {
    let host = Host::new();
    host.write("backend-prod", "out.log", &[(1, "one"), (3, "three"), (5, "five")]);
    host.write("backend-prod", "err.log", &[(2, "two"), (4, "four\x1b[2J")]);
    host.write("backend-test", "out.log", &[(3, "test")]);
    host
}

#[test]
fn streams_and_environments_are_merged_by_time() {
    let host = two_environments();
    assert_eq!(
        host.logs("--nostream -n 3"),
        (
            Ok(Exit::Done),
            "1970-01-01T00:00:00.003Z backend-prod out three\n\
             1970-01-01T00:00:00.003Z backend-test out test\n\
             1970-01-01T00:00:00.004Z backend-prod err four\\x1b[2J\n\
             1970-01-01T00:00:00.005Z backend-prod out five\n"
                .into()
        )
    );
    let (_, one) = host.logs("prod --err --nostream -n 1");
    assert_eq!(one, "1970-01-01T00:00:00.004Z four\\x1b[2J\n");
    let (_, all) = host.logs("prod --out --nostream");
    assert_eq!(all.lines().count(), 3);
}

#[test]
fn lines_are_filtered_before_they_are_counted() {
    let host = two_environments();
    let (_, found) = host.logs("-t prod --nostream -n 2 --grep ^.o|ive$");
    assert_eq!(
        found.lines().map(|l| l.rsplit(' ').next().expect("text")).collect::<Vec<_>>(),
        ["four\\x1b[2J", "five"]
    );
    let (_, found) = host.logs("-t prod --nostream --since 1970-01-01T00:00:00.003Z");
    assert_eq!(found.lines().count(), 3, "{found}");
    for wrong in ["--grep (", "--since yesterday"] {
        let (Err(Failure::Because(Exit::Usage, _)), _) = host.logs(wrong) else {
            panic!("{wrong}")
        };
    }
}

#[test]
fn json_is_an_object_a_line_and_safe() {
    let host = two_environments();
    let (_, json) = host.logs("prod --err --nostream --json -n 1");
    assert_eq!(
        json,
        "{\"at\":\"1970-01-01T00:00:00.004Z\",\"environment\":\"backend-prod\",\"stream\":\"err\",\
         \"instance\":1,\"text\":\"four\\u001b[2J\"}\n"
    );
}

#[test]
fn a_terminal_is_not_misled() {
    let host = two_environments();
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut output = Output::into_sink(writer);
    output.terminal = true;
    run(&host.places, &parse("prod --nostream -n 2"), &mut output).expect("shown");
    drop(output);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    assert_eq!(
        text,
        "1970-01-01T00:00:00.004Z backend-prod err four\\x1b[2J\n\
         1970-01-01T00:00:00.005Z backend-prod out five\n"
    );
}

#[test]
fn colours_of_the_app_are_shown_where_they_are_wanted_and_raw_never_to_a_terminal() {
    let host = Host::new();
    host.write("shop", "out.log", &[(1, "\x1b[31mred\x1b[0m \x1b[2Jgone")]);
    let (_, plain) = host.logs("shop --nostream --out");
    assert_eq!(plain, "1970-01-01T00:00:00.001Z \\x1b[31mred\\x1b[0m \\x1b[2Jgone\n");
    let (_, coloured) = host.logs("shop --nostream --out --color=app");
    assert_eq!(coloured, "1970-01-01T00:00:00.001Z \x1b[31mred\x1b[0m \\x1b[2Jgone\x1b[0m\n");
    let (_, raw) = host.logs("shop --nostream --out --raw");
    assert_eq!(raw, "\x1b[31mred\x1b[0m \x1b[2Jgone\n");
    let mut output = Output::into_sink(io::sink());
    output.terminal = true;
    let refused = run(&host.places, &parse("shop --nostream --raw"), &mut output);
    assert!(matches!(refused, Err(Failure::Because(Exit::Usage, _))), "{refused:?}");
}

#[test]
fn a_span_of_time_is_all_that_is_shown_and_nothing_is_followed() {
    let host = two_environments();
    let (_, found) =
        host.logs("prod --since 1970-01-01T00:00:00.002Z --until 1970-01-01T00:00:00.004Z");
    let texts: Vec<&str> = found.lines().map(|l| l.rsplit(' ').next().expect("text")).collect();
    assert_eq!(texts, ["two", "three", "four\\x1b[2J"]);
}

/// A host without a clock of its own wakes up in 1970, or its clock is set back.
#[test]
fn a_clock_that_went_back_hides_nothing() {
    let host = Host::new();
    let times = [(9_000, "one"), (9_500, "two"), (10, "three"), (9_600, "four")];
    host.write("shop", "out.log", &times);
    let (_, found) = host.logs("shop --out --nostream --since 1970-01-01T00:00:09Z");
    let texts: Vec<&str> = found.lines().map(|l| l.rsplit(' ').next().expect("text")).collect();
    assert_eq!(texts, ["one", "two", "four"]);
}

#[test]
fn it_follows_and_takes_up_new_environments() {
    let host = two_environments();
    let places = host.places.clone();
    let (reader, writer) = io::pipe().expect("a pipe");
    let following =
        std::thread::spawn(move || run(&places, &parse("-n 1"), &mut Output::into_sink(writer)));
    let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
    let mut next = |wanted: &str| {
        let line = lines.next().expect("it goes on");
        assert!(line.ends_with(wanted), "{line:?} is not {wanted:?}");
    };
    next("backend-test out test");
    next("backend-prod out five");
    host.write("backend-test", "err.log", &[(6, "six")]);
    next("backend-test err six");
    host.write("worker", "out.log", &[(7, "seven"), (8, "eight")]);
    next("worker       out seven");
    next("worker       out eight");
    drop(lines);
    host.write("worker", "out.log", &[(9, "nobody reads this")]);
    assert_eq!(following.join().expect("no panic"), Err(Failure::OutputClosed));
}

#[test]
fn what_is_not_there_is_told() {
    let host = Host::new();
    assert_eq!(host.logs("--nostream"), (Ok(Exit::Done), String::new()));
    let (Err(Failure::Because(Exit::Failed, text)), _) = host.logs("prod --nostream") else {
        panic!("found")
    };
    assert!(text.contains("\"prod\""), "{text}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// As the monitor writes them: whole lines, long ones in pieces, the last one cut short.
    #[test]
    fn whatever_bytes_go_in_come_out_of_raw_and_leave_a_terminal_unharmed(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2_000),
        long in 0..3 * LONGEST_TEXT,
    ) {
        let host = Host::new();
        let folder = host.places.logs(&EnvName::parse("shop").expect("a name"));
        std::fs::create_dir_all(&folder).expect("made");
        let mut app = bytes;
        app.extend(std::iter::repeat_n(b'x', long));
        let mut file = Vec::new();
        for line in app.split_inclusive(|byte| *byte == b'\n') {
            let (text, last) = match line.strip_suffix(b"\n") {
                Some(text) => (text, Piece::Whole),
                None => (line, Piece::CutShort),
            };
            let mut pieces = text.chunks(LONGEST_TEXT).peekable();
            if text.is_empty() {
                write_line(&mut file, 1, 1, last, b"");
            }
            while let Some(piece) = pieces.next() {
                let mark = if pieces.peek().is_some() { Piece::GoesOn } else { last };
                write_line(&mut file, 1, 1, mark, piece);
            }
        }
        std::fs::write(folder.join("out.log"), file).expect("written");
        let bytes = |line: &str| {
            let (mut reader, writer) = io::pipe().expect("a pipe");
            let (places, line) = (host.places.clone(), line.to_owned());
            let showing = std::thread::spawn(move || {
                run(&places, &parse(&line), &mut Output::into_sink(writer))
            });
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).expect("read");
            showing.join().expect("no panic").expect("shown");
            bytes
        };
        proptest::prop_assert!(bytes("--raw --nostream -n 9999") == app);
        let shown = String::from_utf8(bytes("--nostream -n 9999")).expect("text");
        proptest::prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
    }
}
