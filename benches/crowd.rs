//! What 3 and 20 idle environments cost: `swrun status`, memory, and CPU time over a minute, in which each is sampled
//! six times.
//!
//! `SWRUN_BENCH_IDLE=0` leaves the minute out; `SWRUN_BENCH_CROWD="20 500"` are other numbers.

#![allow(unsafe_code, reason = "a terminal for the program under test")]

mod common;
#[path = "../tests/common/screen.rs"]
mod screen;

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::bed::{self, Bed};
use common::process::{kib, on_cpu};
use common::{ROUNDS, Series, Stamped, build, head, now, row};
use screen::Screen;

fn main() {
    let bed = Bed::running();
    let program = build(&bed);
    let mut running = 0;
    let crowd = std::env::var("SWRUN_BENCH_CROWD").unwrap_or_else(|_| "3 20".to_owned());
    for count in crowd.split(' ').map(|count| count.parse().expect("a number")) {
        while running < count {
            running += 1;
            let name = format!("shop{running}");
            let shop = Stamped::new(&bed, &program, &name, &["pause"], "");
            bed.ok(&["start", &name]);
            shop.stamps.born(0);
        }
        println!("\n{count} environments\n");
        status(&bed, count);
        memory(&bed, count);
    }
    let seconds =
        std::env::var("SWRUN_BENCH_IDLE").map_or(60, |text| text.parse().expect("seconds"));
    if seconds > 0 {
        idle(&bed, Duration::from_secs(seconds));
        monit(&bed, Duration::from_secs(seconds));
    }
    bed.end();
}

/// The whole process: exec, question, answer, table, exit.
fn status(bed: &Bed, count: usize) {
    let (mut status, mut version) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        let begin = now();
        bed.ok(&["status"]);
        status.span(begin, now());
        // The same program, doing nothing: what of it is exec and exit.
        let begin = now();
        let done = Command::new(bed::swrun()).arg("--version").output().expect("it runs");
        version.span(begin, now());
        assert!(done.status.success());
    }
    head("ms, whole process");
    row(
        &format!("swrun status, {count} environments"),
        &status,
        if count > 20 { "50" } else { "10" },
    );
    row("swrun --version, for comparison", &version, "");
}

/// A process of swrun's: what it is, and its pid.
struct Own {
    role: &'static str,
    pid: u32,
}

/// Runner, monitors and inits of the bed; not the apps.
fn own(bed: &Bed) -> Vec<Own> {
    let program = fs::canonicalize(bed::swrun()).expect("built");
    let mut all = vec![Own { role: "runner", pid: bed.daemon_pid() }];
    for process in bed::processes_of(bed.root()) {
        let pid = process.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
        if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program) {
            for (word, role) in [("__monitor", "monitor"), ("__init", "init")] {
                if process.split(' ').any(|argument| argument == word) {
                    all.push(Own { role, pid });
                }
            }
        }
    }
    all
}

const ROLES: [&str; 3] = ["runner", "monitor", "init"];

/// Proportional set size: shared pages count in parts (proc_pid_smaps_rollup, Linux,
/// Documentation/filesystems/proc.rst).
fn memory(bed: &Bed, count: usize) {
    let all = own(bed);
    assert_eq!(all.len(), 1 + 2 * count, "one runner, and for each environment monitor and init");
    println!("\n| PSS in KiB | processes | PSS | of it anonymous | file |");
    println!("|---|---|---|---|---|");
    let mut sum = 0;
    for role in ROLES {
        let pids: Vec<u32> = all.iter().filter(|own| own.role == role).map(|own| own.pid).collect();
        let [pss, anon, file] = ["Pss:", "Pss_Anon:", "Pss_File:"].map(|field| {
            pids.iter().map(|pid| kib(*pid, "smaps_rollup", field).expect("it runs")).sum::<u64>()
        });
        println!("| {role} | {} | {pss} | {anon} | {file} |", pids.len());
        sum += pss;
    }
    let bound = (4 + count) * 1024;
    println!("| all, bound {bound} | {} | {sum} | | |", all.len());
}

/// CPU time that all processes of swrun's took while nobody asked for anything.
fn idle(bed: &Bed, time: Duration) {
    // Who has just asked is taken for somebody who watches, for three seconds more.
    std::thread::sleep(Duration::from_secs(6));
    let before = own(bed);
    let used = |all: &[Own]| -> Vec<u64> { all.iter().map(|own| on_cpu(own.pid)).collect() };
    let first = used(&before);
    // This is the measurement: nothing happens for so long.
    std::thread::sleep(time);
    let second = used(&before);
    println!("\n| CPU time in ms over {} s | processes | ms |", time.as_secs());
    println!("|---|---|---|");
    let mut sum = 0;
    for role in ROLES {
        let spans = before.iter().zip(first.iter().zip(&second));
        let spans = spans.filter(|(own, _)| own.role == role).map(|(_, (a, b))| b - a);
        let (count, used) = spans.fold((0, 0), |(count, used), span| (count + 1, used + span));
        println!("| {role} | {count} | {:.2} |", used as f64 / 1e6);
        sum += used;
    }
    let share = sum as f64 / 1e7 / time.as_secs_f64();
    println!("| all, {share:.2} % of one CPU | {} | {:.2} |", before.len(), sum as f64 / 1e6);
}

/// CPU time of `swrun monit` on a terminal of 80 columns and 24 rows, which draws four times a second.
fn monit(bed: &Bed, time: Duration) {
    let mut command = Command::new(bed::swrun());
    command.args(["monit", "--root"]).arg(bed.root());
    let mut screen = Screen::start(&mut command, 24, 80);
    screen.until("it is drawn", |text| text.contains("> shop") && text.contains("anon "));
    let pid = u32::try_from(screen.pid()).expect("a pid");
    let first = on_cpu(pid);
    std::thread::sleep(time);
    let used = (on_cpu(pid) - first) as f64 / 1e9;
    screen.press("q");
    screen.end();
    let share = used / time.as_secs_f64() * 100.0;
    println!("\n`swrun monit`, four frames a second: {share:.2} % of one CPU (bound 2)");
}
