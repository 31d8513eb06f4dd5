use std::time::{Duration, Instant};

use super::idle::{rollup, share};
use super::rounds;
use crate::lab::{Lab, add, ms};
use crate::manager::Manager as _;
use crate::managers::swrun::Running;
use crate::result::Run;

/// A thousand at once, on two CPUs.
const LONGEST: Duration = Duration::from_secs(600);

const COUNTS: [usize; 5] = [1, 10, 100, 500, 1000];

/// swrun alone.
pub fn measure(lab: &Lab, run: &mut Run) {
    run.peers.truncate(1);
    run.missing.clear();
    for _ in 0..rounds(3) {
        grow(lab, run);
    }
}

fn grow(lab: &Lab, run: &mut Run) {
    let time = Duration::from_secs(u64::from(rounds(30)));
    let mut guest = Running::up();
    let mut jobs = Vec::new();
    for count in COUNTS {
        let figure = |what: &str| format!("{what}, with {count} environments");
        while jobs.len() < count {
            let job = lab.small(&format!("small{}", jobs.len()), &[]);
            guest.define(&job);
            jobs.push(job);
        }
        let begun = Instant::now();
        guest.ok(&["start"]);
        add(run, &figure("start of all new ones, s"), "swrun", begun.elapsed().as_secs_f64());
        for _ in 0..rounds(20) {
            let begun = Instant::now();
            guest.ok(&["status"]);
            add(run, &figure("status, ms"), "swrun", ms(begun));
        }
        std::thread::sleep(Duration::from_secs(6));
        let own = guest.own();
        add(run, &figure("idle CPU, % of one"), "swrun", share(&own, time));
        let memory = rollup(&own, "Pss:");
        add(run, &figure("memory (PSS), MiB"), "swrun", memory);
        add(run, &figure("of it for each, MiB"), "swrun", memory / count as f64);
        for _ in 0..rounds(3) {
            guest.shut_down();
            let begun = Instant::now();
            guest.boot();
            while !guest.are_all_online() {
                assert!(begun.elapsed() < LONGEST, "not all {count} are back");
                std::thread::sleep(Duration::from_millis(50));
            }
            add(run, &figure("all back after a boot, s"), "swrun", begun.elapsed().as_secs_f64());
        }
    }
    guest.end();
}
