//! `swrun monit` at a real terminal: what its screen shows, what its keys do, and how it leaves the terminal.
#![allow(unsafe_code, reason = "a terminal of its own for the program under test")]

mod bed;
#[path = "common/screen.rs"]
mod screen;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use bed::{Bed, get, is_guest, pid};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::LocalModes;
use screen::Screen;
use serde_json::Value;

fn monit(bed: &Bed, rows: u16, columns: u16) -> Screen {
    let mut command = Command::new(bed::swrun());
    command.args(["monit", "--root"]).arg(bed.root());
    Screen::start(&mut command, rows, columns)
}

/// The other screen (xterm's 1049) is left, once the program has ended.
#[track_caller]
fn is_left(screen: &Screen) {
    let left = b"\x1b[?1049l";
    assert!(screen.bytes().windows(left.len()).any(|bytes| bytes == left), "{}", screen.text());
}

fn with_three(bed: &Bed) -> Vec<bed::App> {
    ["alpha", "beta", "gamma"]
        .into_iter()
        .map(|name| {
            let app = bed.app(name);
            bed.probe(&app, "[limits]\nmemory-max = \"64M\"\n");
            app
        })
        .collect()
}

#[test]
fn it_shows_environments_charts_and_the_log_and_leaves_the_terminal_as_it_was() {
    let bed = Bed::running();
    let apps = with_three(&bed);
    bed.ok(&["start"]);
    bed.ok(&["stop", "gamma"]);
    get(apps[0].port, "/out?lines=3").expect("it serves");
    let mut screen = monit(&bed, 24, 80);
    let before = screen.settings();
    let shown = screen.until("all is there", |text| {
        text.contains("> alpha")
            && text.contains("gamma")
            && text.contains("out 3")
            && text.contains("host: memory")
    });
    for part in [
        "online",
        "stopped",
        "/ 64M",
        "anon ",
        "CPU ",
        "stalled ",
        "queue ",
        "log of alpha",
        "q leave",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert!(
        shown.lines().count() <= 24 && shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    // What is logged comes by itself; what is in it harms nobody.
    get(apps[0].port, "/out?lines=5").expect("it serves");
    screen.until("new lines", |text| text.contains("out 5"));
    // A chart of memory as it grows.
    get(apps[0].port, "/leak?mb=20").expect("it serves");
    screen.until("the memory", |text| {
        text.contains("anon 2") && text.contains('▄') | text.contains('▃') | text.contains('▂')
    });

    screen.press("j");
    screen.until("the next one", |text| text.contains("> beta") && text.contains("log of beta"));
    screen.press("?");
    screen.until("help", |text| text.contains("no connection is refused"));
    screen.press("?");
    screen.until("no help", |text| !text.contains("no connection is refused"));
    screen.resize(40, 120);
    screen.until("larger", |text| text.lines().count() > 24 || text.contains("q leave"));
    screen.resize(8, 40);
    screen.until("tiny", |text| {
        text.contains("beta") && text.lines().all(|line| line.chars().count() <= 40)
    });
    screen.resize(24, 80);
    screen.press("q");
    assert!(screen.end().success());
    is_left(&screen);
    let after = screen.settings();
    assert_eq!(
        format!("{:?}", (after.local_modes, after.input_modes)),
        format!("{:?}", (before.local_modes, before.input_modes))
    );
    bed.end();
}

#[test]
fn orders_are_asked_twice() {
    let bed = Bed::running();
    let apps = with_three(&bed);
    bed.ok(&["start"]);
    bed.ok(&["stop", "gamma"]);
    let first = pid(&bed.status(&apps[0]));
    let mut screen = monit(&bed, 24, 80);
    screen.until("it is there", |text| text.contains("> alpha"));
    screen.press("r");
    screen.until("it asks", |text| text.contains("restart alpha? y: yes"));
    screen.press("n");
    screen.until("it does not", |text| text.contains("q leave"));
    assert_eq!(pid(&bed.status(&apps[0])), first);
    screen.press("ry");
    let is_next = |now: &Value| now["state"] == "online" && pid(now) != first;
    bed.until(&apps[0], "it is restarted", is_next);
    screen.until("it says so", |text| text.contains("alpha: "));
    screen.press("xy");
    bed.until(&apps[0], "it is stopped", |now| now["state"] == "stopped");
    screen.press("jjsy");
    bed.until(&apps[2], "the third is started", |now| now["state"] == "online");
    screen.press("\x03");
    assert!(screen.end().success());
    bed.end();
}

#[test]
fn it_shows_that_the_runner_is_away_and_comes_back_with_it() {
    let mut bed = Bed::running();
    let apps = with_three(&bed);
    bed.ok(&["start"]);
    let mut screen = monit(&bed, 24, 80);
    screen.until("it is there", |text| text.contains("> alpha"));
    bed.kill_daemon();
    screen.until("it says so", |text| text.contains("the runner is away, environments go on"));
    // Logs are files: they go on.
    get(apps[0].port, "/out?lines=7").expect("it serves");
    screen.until("logs go on", |text| text.contains("out 7"));
    bed.daemon();
    screen.until("it is back", |text| text.contains("host: memory") && text.contains("online"));
    // A signal leaves the terminal as it was, too.
    let raw = format!("{:?}", screen.settings().local_modes);
    kill(Pid::from_raw(screen.pid()), Signal::SIGTERM).expect("ours");
    assert!(screen.end().success());
    is_left(&screen);
    assert_ne!(format!("{:?}", screen.settings().local_modes), raw, "the terminal is cooked again");
    bed.end();
}

/// Where no thread can be made any more, which Rust's library answers by a panic.
#[test]
fn a_panic_leaves_the_terminal_as_it_was() {
    let bed = Bed::running();
    with_three(&bed);
    bed.ok(&["start"]);
    let mut screen = monit(&bed, 24, 80);
    screen.until("it is there", |text| text.contains("> alpha"));
    let is_cooked = |screen: &Screen| {
        screen.settings().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    };
    assert!(!is_cooked(&screen));
    // A little more than it has: not enough for the stack of a thread (2 MiB).
    let sizes = fs::read_to_string(format!("/proc/{}/statm", screen.pid())).expect("it runs");
    let pages: u64 = sizes.split(' ').next().expect("one").parse().expect("a number");
    let most = format!("--as={}", pages * 4096 + (512 << 10));
    let set = Command::new("prlimit").args(["--pid", &screen.pid().to_string(), &most]).status();
    assert!(set.expect("util-linux is installed").success());
    screen.press("ry");
    let ended = screen.end();
    assert_eq!(ended.signal(), Some(libc::SIGABRT), "{ended}");
    is_left(&screen);
    screen.until("it says why", |text| text.contains("panicked at"));
    assert!(is_cooked(&screen));
    bed.end();
}

#[test]
fn hostile_names_and_lines_do_nothing_to_the_terminal() {
    if is_guest() {
        return;
    }
    let bed = Bed::running();
    let app = bed.app("shop");
    let script = "printf '\\033]0;owned\\007\\033[2J\\033[31mred\\033[0m \\342\\200\\256rtl\\n'; printf 'after\\n'; exec sleep 900";
    bed.profile(&app, &["/bin/sh", "-c", script], "");
    bed.start(&app);
    let mut screen = monit(&bed, 24, 80);
    screen.until("the line after", |text| text.contains("after"));
    let bytes = screen.bytes();
    let has = |what: &[u8]| bytes.windows(what.len()).any(|found| found == what);
    assert!(!has(b"\x1b]0;owned") && !has("\u{202e}".as_bytes()), "{}", screen.text());
    screen.press("q");
    assert!(screen.end().success());
    bed.end();
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let bed = Bed::running();
    let error = bed.fails(2, &["monit"]);
    assert!(error.contains("needs a terminal"), "{error}");
    bed.end();
}
