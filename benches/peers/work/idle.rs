use std::fs;
use std::time::Duration;

use crate::lab::{Lab, add};
use crate::result::Run;

const COUNTS: [usize; 4] = [1, 3, 20, 100];

/// One after the other: what each takes while nothing happens.
pub fn measure(lab: &Lab, run: &mut Run) {
    let minute = Duration::from_secs(u64::from(super::rounds(60)));
    lab.each(|mut guest| {
        if guest.name == "PM2, cluster" {
            return guest.manager.end();
        }
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
            let sum = |field: &str| own.iter().map(|pid| rollup(*pid, field)).sum::<f64>() / 1024.0;
            let figure = |what: &str| format!("{what}, with {count} programs");
            add(run, &figure("memory (PSS), MiB"), guest.name, sum("Pss:"));
            let private = sum("Private_Clean:") + sum("Private_Dirty:");
            add(run, &figure("of it private, MiB"), guest.name, private);
            if count >= 20 {
                let busy = || own.iter().map(|pid| on_cpu(*pid)).sum::<f64>();
                let before = busy();
                std::thread::sleep(minute);
                let share = (busy() - before) / minute.as_secs_f64() * 100.0;
                add(run, &figure("CPU, % of one"), guest.name, share);
            }
        }
        guest.manager.end();
    });
}

/// A line of `/proc/PID/smaps_rollup`, in KiB (Linux, Documentation/filesystems/proc.rst).
pub fn rollup(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{pid} has ended"))
}

/// Seconds on a CPU, of all its threads.
pub fn on_cpu(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}
