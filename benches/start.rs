//! From the request to `main()` of a static program in the cage, beside `unshare -pfm` and a bare
//! start of the same program in the same run.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::bed::Bed;
use common::monitor::Monitor;
use common::{ROUNDS, Series, Stamped, Stamps, build, head, now, row, text};
use swrun::wire::keep::Request;

fn main() {
    let bed = Bed::running();
    let program = build(&bed);
    head("ms from the request to main()");
    // What an app that ran for a while meets; a start right after another finds the kernel warm.
    for (name, quiet) in [("back", Duration::ZERO), ("quiet", Duration::from_millis(300))] {
        compare(&bed, &program, name, quiet);
    }
    whole_command(&bed, &program);
    bed.end();
}

/// Three ways in turn, so that a slow moment of the machine hits all of them.
fn compare(bed: &Bed, program: &Path, name: &str, quiet: Duration) {
    // The app ends with 0, so the environment rests, its monitor stays, and `Start` starts it again.
    let ends = ["exit", "0"];
    let caged = Stamped::new(bed, program, name, &ends, "[restart]\npolicy = \"on-failure\"");
    // It may have ended before the order could see it online: no failure here.
    bed.swrun(&["start", name]);
    let mut monitor = Monitor::connect(bed, name);
    monitor.wait_for_rest(1);
    let stamps = Stamps::new(&bed.root().join(format!("{name}-stamps")));
    let plain = [text(program), text(&stamps.path), "exit", "0"];
    let (mut cage, mut unshare, mut bare) =
        (Series::default(), Series::default(), Series::default());
    let mut ratio = Series::default();
    for round in 0..ROUNDS {
        std::thread::sleep(quiet);
        let begin = now();
        monitor.ask(Request::Start);
        // Asleep until it is over, as for the two below.
        monitor.wait_for_rest(round as u64 + 2);
        cage.span(begin, caged.stamps.born(round + 1));

        std::thread::sleep(quiet);
        let begin = run(Command::new("unshare").arg("-pfm").args(plain));
        unshare.span(begin, stamps.born(2 * round));

        std::thread::sleep(quiet);
        let begin = run(Command::new(plain[0]).args(&plain[1..]));
        bare.span(begin, stamps.born(2 * round + 1));
    }
    ratio.add(cage.median() / unshare.median());
    let when = if quiet.is_zero() { "back to back" } else { "after 0.3 s of quiet" };
    row(&format!("caged start, asked for at the monitor's socket, {when}"), &cage, "3");
    row(&format!("unshare -pfm, {when}"), &unshare, "");
    row(&format!("vfork and exec, {when}"), &bare, "");
    row(&format!("ratio of the medians, caged : unshare -pfm, {when}"), &ratio, "2");
    bed.ok(&["stop", name]);
}

/// Runs a command to its end; gives the moment before.
fn run(command: &mut Command) -> u64 {
    command.stdin(Stdio::null());
    let begin = now();
    let status = command.status().expect("it can be started");
    assert!(status.success(), "{command:?}: {status}");
    begin
}

/// What an operator waits for: `swrun start NAME`, a new monitor included.
fn whole_command(bed: &Bed, program: &Path) {
    let shop = Stamped::new(bed, program, "shop", &["pause"], "");
    let (mut to_main, mut whole) = (Series::default(), Series::default());
    for round in 0..ROUNDS {
        let begin = now();
        bed.ok(&["start", "shop"]);
        whole.span(begin, now());
        to_main.span(begin, shop.stamps.born(round));
        bed.ok(&["stop", "shop"]);
    }
    row("\"swrun start NAME\" as a whole: its exec to main(), new monitor", &to_main, "");
    row("\"swrun start NAME\" as a whole: until it says \"online\" and ends", &whole, "");
}
