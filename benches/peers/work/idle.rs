use std::time::Duration;

use super::rounds;
use crate::common::process::{self, kib};
use crate::lab::{Lab, add};
use crate::result::Run;

const COUNTS: [usize; 4] = [1, 3, 20, 100];

/// One after the other: what each takes while nothing happens.
pub fn measure(lab: &Lab, run: &mut Run) {
    for _ in 0..rounds(3) {
        once(lab, run);
    }
}

fn once(lab: &Lab, run: &mut Run) {
    let time = Duration::from_secs(u64::from(rounds(30)));
    lab.each(|mut guest| {
        let mut running = 0;
        for count in COUNTS {
            let more = running..count;
            let jobs: Vec<_> = more.map(|n| lab.small(&format!("small{n}"), &[])).collect();
            guest.manager.add_all(&jobs);
            jobs.iter().for_each(|job| drop(job.answers_anew("")));
            running = count;
            // What was started last is over.
            std::thread::sleep(Duration::from_secs(3));
            let own = guest.manager.own();
            let sum = |field: &str| rollup(&own, field);
            let figure = |what: &str| format!("{what}, with {count} programs");
            add(run, &figure("memory (PSS), MiB"), guest.name, sum("Pss:"));
            let private = sum("Private_Clean:") + sum("Private_Dirty:");
            add(run, &figure("of it private, MiB"), guest.name, private);
            if count >= 20 {
                add(run, &figure("CPU, % of one"), guest.name, share(&own, time));
            }
            if count == 20 {
                let calls = super::profile::system_calls(&own);
                let all = calls.iter().find(|(call, _)| call == "system calls");
                let all = all.map_or(0.0, |(_, count)| *count);
                add(run, "system calls in an idle second, 20 programs", guest.name, all);
            }
        }
        guest.manager.end();
    });
}

/// A line of `smaps_rollup` of all of them together, in MiB.
pub fn rollup(own: &[u32], field: &str) -> f64 {
    let sum: u64 = own.iter().map(|pid| kib(*pid, "smaps_rollup", field).expect("it runs")).sum();
    sum as f64 / 1024.0
}

/// Percent of one CPU that they take for so long.
pub fn share(own: &[u32], time: Duration) -> f64 {
    let before = on_cpus(own);
    std::thread::sleep(time);
    (on_cpus(own) - before) / time.as_secs_f64() * 100.0
}

/// Seconds on a CPU, of all their threads.
pub fn on_cpus(own: &[u32]) -> f64 {
    own.iter().map(|pid| process::on_cpus(*pid)).sum::<u64>() as f64 / 1e9
}
