//! The binary itself on the command line: exit statuses, and outputs that close or are full. No root
//! and no runner are needed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

fn swrun(root: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swrun"));
    command.env_clear().env("SWRUN_ROOT", root).args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let root = tempfile::tempdir().expect("a folder");
    let Output { status, stdout, stderr } =
        swrun(root.path(), arguments).output().expect("it can be run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn exit_statuses_are_those_promised() {
    for (arguments, code) in [
        (&["--help"] as &[&str], 0),
        (&["--version"], 0),
        (&["logs", "--nostream"], 0),
        (&["logs", "nobody"], 1),
        (&["start", "/nonexistent/app.js", "--name", "n"], 1),
        (&[], 2),
        (&["nonsense"], 2),
        (&["delete"], 2),
        (&["start", "app.js"], 2),
        (&["logs", "--grep", "("], 2),
        (&["status"], 4),
        (&["show", "prod", "--json"], 4),
        (&["stop", "prod"], 4),
        (&["delete", "--all"], 4),
        (&["kill"], 4),
    ] {
        let (got, stdout, stderr) = run(arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {stdout}{stderr}");
        assert_eq!(
            stderr.is_empty(),
            code == 0 && arguments[0] != "logs",
            "{arguments:?}: {stderr}"
        );
        assert!(code == 0 || stdout.is_empty(), "{arguments:?}: {stdout}");
    }
}

#[test]
fn a_reader_that_goes_is_no_error_and_a_full_disk_is() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("var/log/swrun/backend-prod");
    std::fs::create_dir_all(&folder).expect("made");
    let mut file = std::fs::File::create(folder.join("out.log")).expect("made");
    // More than a pipe holds, so that the writing meets the closed end.
    for number in 0..20_000 {
        writeln!(file, "2026-11-23T01:02:03.123Z 1 line {number}").expect("written");
    }
    for follow in [&["logs", "-n", "20000"] as &[&str], &["logs", "-n", "20000", "--nostream"]] {
        let mut child = swrun(root.path(), follow)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut first = String::new();
        reader.read_line(&mut first).expect("a line");
        assert_eq!(first, "2026-11-23T01:02:03.123Z out line 0\n");
        drop(reader);
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    }
    let full = std::fs::File::options().write(true).open("/dev/full").expect("there");
    let ended =
        swrun(root.path(), &["logs", "--nostream"]).stdout(full).output().expect("it can be run");
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("No space left"));
}
