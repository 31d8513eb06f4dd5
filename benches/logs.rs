//! A million lines of an app on their way to the disk, beside the same written by the app itself; and the last
//! fifty lines out of ten gigabytes.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::bed::{Bed, processes_of};
use common::process::{kib, on_cpu};
use common::{Series, text};

const LINES: u64 = 1_000_000;
const ROUNDS: usize = 9;

fn main() {
    let bed = Bed::running();
    flood(&bed, "lines", "each written by itself");
    flood(&bed, "stdio", "in the blocks of the C library (4 KiB)");
    flood(&bed, "blocks", "in blocks of 64 KiB");
    last_lines(&bed);
    bed.end();
}

fn monitor(bed: &Bed) -> u32 {
    let line = processes_of(bed.root()).into_iter().find(|line| line.contains("__monitor "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).expect("it lives")
}

/// A line of `/proc/PID/status` (proc_pid_status(5)), in MiB.
fn memory(pid: u32, line: &str) -> f64 {
    kib(pid, "status", line).expect("a process has it") as f64 / 1024.0
}

/// Seconds since the writer began.
fn since_begin(begun: &Path) -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let text = fs::read_to_string(begun).expect("it began");
    let begun: f64 =
        text.split_whitespace().next_back().expect("it says").parse().expect("a number");
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9 - begun / 1e9
}

/// `how` is the writer's word for it, and the name of its environment.
fn flood(bed: &Bed, how: &str, title: &str) {
    let program = bed.root().join("lines");
    common::compile("benches/common/lines.c", &program);
    let (name, app) = (how, bed.app(how));
    let logs = bed.root().join("var/log/swrun").join(name);
    let own = app.home.join("lines");
    fs::copy(&program, &own).expect("ours");
    let lines = LINES.to_string();
    let script = format!(
        "until [ -e go ]; do sleep 0.01; done; {} {lines} {how}; exec sleep 900",
        text(&own)
    );
    let rest = "[logs]\nkeep = 1000\ntotal-max = \"1G\"\n[restart]\npolicy = \"never\"";
    bed.profile(&app, &["/bin/sh", "-c", &script], rest);
    let (mut by_itself, mut stamped, mut busy, mut ratio) =
        (Series::default(), Series::default(), Series::default(), Series::default());
    let (mut lost, mut most, mut own_most) = (0, 0_f64, 0_f64);
    for _ in 0..ROUNDS {
        // Where the logs lie.
        let paths =
            ["by-itself", "by-itself.err"].map(|name| bed.root().join("var/log").join(name));
        let [out, err] = paths.each_ref().map(|path| File::create(path).expect("ours"));
        let mut command = Command::new(&own);
        command.args([&lines, how]).stdout(out).stderr(err).stdin(Stdio::null());
        assert!(command.status().is_ok_and(|status| status.success()));
        let alone = since_begin(&paths[1]);
        for ours in &paths {
            fs::remove_file(ours).expect("ours");
        }

        // Not there yet in the first round.
        bed.swrun(&["stop", name]);
        bed.swrun(&["flush", name]);
        let _ = fs::remove_file(app.home.join("go"));
        bed.ok(&["start", name]);
        let pid = monitor(bed);
        // The peak from here on (proc_pid_clear_refs(5)); what the start took has been given back then.
        std::thread::sleep(Duration::from_millis(300));
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("root may");
        let (before, begun) = (on_cpu(pid), Instant::now());
        fs::write(app.home.join("go"), "").expect("ours");
        while last(&logs) != Some(LINES) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the last line");
            std::thread::sleep(Duration::from_millis(1));
        }
        let whole = since_begin(&logs.join("err.log"));
        by_itself.add(alone);
        stamped.add(whole);
        ratio.add(whole / alone);
        busy.add((on_cpu(pid) - before) as f64 / 1e9);
        (most, own_most) = (most.max(memory(pid, "VmHWM:")), own_most.max(memory(pid, "RssAnon:")));
        let kept = bed.swrun(&["logs", name, "--out", "--raw", "--nostream", "-n", "9999999"]);
        lost += LINES - kept.stdout.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    bed.ok(&["stop", name]);
    println!("\n| {LINES} lines of 100 bytes, {title} | median of {ROUNDS} |\n|---|---|");
    println!("| the app into a file itself | {:.3} s |", by_itself.median());
    println!("| through swrun, to the last line in the log | {:.3} s |", stamped.median());
    println!("| ratio, median of the rounds' | {:.2} |", ratio.median());
    println!("| CPU of the monitor | {:.3} s |", busy.median());
    println!(
        "| peak memory of the monitor meanwhile, the program's own pages included | {most:.1} MiB |"
    );
    println!("| of it its own (anonymous) | {own_most:.1} MiB |");
    println!("| lines lost, all rounds | {lost} |");
}

/// The number of the last line.
fn last(logs: &Path) -> Option<u64> {
    use std::os::unix::fs::FileExt as _;
    let file = File::open(logs.join("out.log")).ok()?;
    let mut line = [0; 100];
    file.read_exact_at(&mut line, file.metadata().ok()?.len().checked_sub(100)?).ok()?;
    std::str::from_utf8(line.get(..10)?).ok()?.parse().ok()
}

/// A hundred files of 100 MB. They are one file under a hundred names: what is not read makes no difference.
fn last_lines(bed: &Bed) {
    let folder = bed.root().join("var/log/swrun/many");
    fs::create_dir_all(&folder).expect("ours");
    let line = format!("2026-11-23T01:02:03.123Z 1 {}\n", "x".repeat(100));
    let whole = line.repeat(100_000_000 / line.len());
    let first = folder.join("out.log.20261101T000000.000Z");
    fs::write(&first, &whole).expect("room for it");
    for number in 1..99 {
        let name = format!("out.log.20261101T0000{:02}.{:03}Z", number % 60, number);
        fs::hard_link(&first, folder.join(name)).expect("ours");
    }
    fs::write(folder.join("out.log"), &whole).expect("room for it");
    let mut series = Series::default();
    for _ in 0..50 {
        let begun = Instant::now();
        let shown = bed.swrun(&["logs", "many", "-n", "50", "--nostream"]);
        series.add(begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!(shown.stdout.iter().filter(|byte| **byte == b'\n').count(), 50);
    }
    println!("\n| `swrun logs -n 50 --nostream`, 10 GB in 100 files | {:.1} ms |", series.median());
    fs::remove_dir_all(&folder).expect("ours");
}
