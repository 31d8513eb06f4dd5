//! Completions in the real shells, each at a terminal of its own: a key is pressed, and the screen is read.
#![allow(unsafe_code, reason = "a terminal of its own for the shells")]

mod bed;
#[path = "common/screen.rs"]
mod screen;

use std::path::Path;
use std::process::Command;

use bed::{Bed, swrun};
use screen::Screen;

/// A shell without settings of anybody's that has read what swrun prints for it.
fn shell(bed: &Bed, program: &str, arguments: &[&str], reads: &str) -> Screen {
    let folder = swrun().parent().map(Path::to_owned).expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", format!("{}:{path}", folder.display()));
    command.env("HOME", bed.root()).env("SWRUN_ROOT", bed.root()).env("PS1", "$ ");
    let mut screen = Screen::start(&mut command, 40, 100);
    screen.press(&format!("{reads}; echo rea''dy\n"));
    screen.until("it reads", |text| text.lines().any(|line| line.trim() == "ready"));
    screen
}

fn completes(mut screen: Screen) {
    for (typed, wanted) in [
        ("swrun resta", "swrun restart"),
        ("swrun restart shop-p", "swrun restart shop-prod"),
        ("swrun logs -t pro", "swrun logs -t prod"),
        ("swrun scale shop-p", "swrun scale shop-prod"),
        ("swrun status --js", "swrun status --json"),
        ("swrun export kub", "swrun export kubernetes"),
    ] {
        screen.press(&format!("{typed}\t"));
        screen.until(wanted, |text| text.contains(wanted));
        // Ctrl-U, Ctrl-L: an empty line on an empty screen.
        screen.press("\u{15}\u{c}");
        screen.until("it is cleared", |text| !text.contains("swrun"));
    }
}

fn bed() -> Bed {
    let mut bed = Bed::new();
    let app = bed.app("shop-prod");
    bed.profile(&app, &["/bin/sleep", "1000"], "target = \"prod\"\nautostart = false\n");
    bed.daemon();
    bed
}

#[test]
fn bash() {
    let bed = bed();
    let arguments = ["--noprofile", "--norc", "-i"];
    completes(shell(&bed, "bash", &arguments, "eval \"$(swrun completions bash)\""));
}

#[test]
fn zsh() {
    let bed = bed();
    let reads = "autoload -U compinit && compinit -u -D && eval \"$(swrun completions zsh)\"";
    completes(shell(&bed, "zsh", &["-f", "-i"], reads));
}

/// As the package has it: a file in a folder of zsh's, which is read at the first key.
#[test]
fn zsh_by_its_own_folder() {
    let bed = bed();
    let folder = bed.root().join("zsh");
    std::fs::create_dir(&folder).expect("ours");
    std::fs::write(folder.join("_swrun"), bed.ok(&["completions", "zsh"])).expect("ours");
    let reads =
        format!("fpath=({} $fpath); autoload -U compinit && compinit -u -D", folder.display());
    completes(shell(&bed, "zsh", &["-f", "-i"], &reads));
}

/// A variable that somebody has exported is no question.
#[test]
fn an_order_is_carried_out_whatever_is_exported() {
    let bed = bed();
    let mut command = Command::new(swrun());
    command.args(["status", "--json"]).env("SWRUN_ROOT", bed.root()).env("SWRUN_COMPLETE", "bash");
    let output = command.output().expect("the program under test");
    assert!(String::from_utf8_lossy(&output.stdout).contains("shop-prod"), "{output:?}");
}

#[test]
fn fish() {
    let bed = bed();
    let arguments = ["--no-config", "--interactive"];
    let quiet = "set -g fish_autosuggestion_enabled 0; set -g fish_greeting; swrun completions fish | source";
    completes(shell(&bed, "fish", &arguments, quiet));
}

/// A key that is pressed never waits for a runner that is not there.
#[test]
fn without_a_runner_commands_are_completed_all_the_same() {
    let bed = Bed::new();
    let arguments = ["--noprofile", "--norc", "-i"];
    let mut screen = shell(&bed, "bash", &arguments, "eval \"$(swrun completions bash)\"");
    screen.press("swrun restart x\t");
    screen.press("\u{15}swrun roll\t");
    screen.until("the command", |text| text.contains("swrun rollback"));
}
