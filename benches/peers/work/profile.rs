use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{rest, rounds};
use crate::common;
use crate::common::bed::{self, Bed};
use crate::common::traced::{Step, traced};
use crate::lab::{Lab, add};
use crate::manager::{Manager as _, signal};
use crate::managers::swrun::Running;
use crate::result::Run;

const IDLE: u32 = 10;

/// swrun alone: where a start and a restart go, what it does while nothing happens, and how many instructions a
/// `status` is.
pub fn measure(lab: &Lab, run: &mut Run) {
    run.peers.truncate(1);
    run.missing.clear();
    let mut guest = Running::up();
    let jobs: Vec<_> = (0..20).map(|n| lab.small(&format!("small{n}"), &[])).collect();
    guest.define(&jobs[0]);
    guest.ok(&["start", &jobs[0].name]);
    for _ in 0..rounds(15) {
        rest();
        for verb in ["restart", "start"] {
            if verb == "start" {
                guest.ok(&["stop", &jobs[0].name]);
            }
            for Step { by, what, took, .. } in
                traced(guest.bed(), &[verb, &jobs[0].name, "--trace"]).1
            {
                add(run, &format!("{verb}: {by}: {what}, ms"), "swrun", took);
            }
        }
    }
    for count in [3, 20] {
        jobs[1..count].iter().for_each(|job| guest.define(job));
        guest.ok(&["start"]);
        let figure = format!("status of {count} environments, million instructions");
        add(run, &figure, "swrun", instructions(guest.bed(), &["status"]) / 1e6);
    }
    add(
        run,
        "--version, million instructions",
        "swrun",
        instructions(guest.bed(), &["--version"]) / 1e6,
    );
    // What was started last is over.
    std::thread::sleep(Duration::from_secs(8));
    let runner = guest.bed().daemon_pid();
    for (call, count) in system_calls(&[runner]) {
        add(run, &format!("runner, 20 environments, idle: {call} a second"), "swrun", count);
    }
    let monitors: Vec<u32> = guest
        .own()
        .into_iter()
        .filter(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "swrun-monitor"
        })
        .collect();
    for (call, count) in system_calls(&monitors) {
        let each = count / monitors.len() as f64;
        add(run, &format!("monitor, idle: {call} a second"), "swrun", each);
    }
    guest.end();
}

/// Instructions of a whole process, as valgrind's callgrind counts them.
fn instructions(bed: &Bed, words: &[&str]) -> f64 {
    let (out, program) = (bed.root().join("callgrind"), bed.root().join("no_auxv"));
    common::compile("benches/common/no_auxv.c", &program);
    let run = Command::new(program)
        .arg("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", out.display())])
        .arg(bed::swrun())
        .args(words)
        .env("SWRUN_ROOT", bed.root())
        .output()
        .expect("valgrind is there: apt-get install valgrind");
    let text = fs::read_to_string(&out).unwrap_or_else(|_| panic!("{run:?}"));
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{run:?}"))
}

/// System calls of these processes in a second in which nobody asks for anything, by their names, and all.
pub fn system_calls(pids: &[u32]) -> Vec<(String, f64)> {
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-U", "calls,name"]);
    for pid in pids {
        command.args(["-p", &pid.to_string()]);
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.expect("it is among the unpacked packages");
    // Until it is attached to all.
    std::thread::sleep(Duration::from_millis(500));
    std::thread::sleep(Duration::from_secs(u64::from(IDLE)));
    signal(child.id(), rustix::process::Signal::INT);
    let output = child.wait_with_output().expect("ours");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut calls: BTreeMap<String, f64> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(Ok(count)), Some(name)) = (words.next().map(str::parse::<f64>), words.next()) {
            *calls.entry(name.replace("total", "system calls")).or_default() +=
                count / (f64::from(IDLE) + 0.5);
        }
    }
    calls.into_iter().collect()
}
