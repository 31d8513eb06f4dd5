use std::time::{Duration, Instant};

use super::rounds;
use crate::common::process::kib;
use crate::lab::{Lab, add, note};
use crate::manager::Job;
use crate::result::Run;

const CEILING: u64 = 100 << 20;
const LONGEST: Duration = Duration::from_secs(45);

/// Everybody in turn: by how much, and for how long.
pub fn measure(lab: &Lab, run: &mut Run) {
    for (path, whose) in [("/leak", "the program itself"), ("/leak-child", "a child of it")] {
        let (over, time) =
            (format!("{whose}: most over it, MiB"), format!("{whose}: to its end, s"));
        lab.each(|mut guest| {
            if !guest.has_ceiling {
                note(run, &over, guest.name, "has no ceiling");
                note(run, &time, guest.name, "has no ceiling");
                return guest.manager.end();
            }
            let mut job = lab.small("leaks", &[]);
            job.ceiling = Some(CEILING);
            guest.start(&job);
            for _ in 0..rounds(3) {
                let born = job.answers_anew("");
                match leak(&job, path) {
                    Some((most, seconds)) => {
                        add(run, &over, guest.name, most);
                        add(run, &time, guest.name, seconds);
                        job.answers_anew(if path == "/leak" { &born } else { "" });
                    }
                    None => {
                        note(run, &over, guest.name, "was never ended (45 s, 900 MiB)");
                        note(run, &time, guest.name, "was never ended (45 s, 900 MiB)");
                        break;
                    }
                }
            }
            guest.manager.end();
            job.processes().into_iter().for_each(crate::manager::kill);
        });
    }
}

/// Asks for a leak by `path`, again where nothing came of it. MiB over the ceiling at most, and seconds until all that leaked
/// is gone; `None` when it went on.
fn leak(job: &Job, path: &str) -> Option<(f64, f64)> {
    for _ in 0..3 {
        let _ = job.ask(path);
        let (begun, mut most, mut since) = (Instant::now(), 0, None);
        while begun.elapsed() < LONGEST {
            let used: u64 =
                job.processes().into_iter().filter_map(|pid| kib(pid, "status", "RssAnon:")).sum();
            let used = used << 10;
            most = most.max(used);
            if used > CEILING && since.is_none() {
                since = Some(Instant::now());
            }
            // It took most of it, and what is there now is small again.
            if most > CEILING / 2 && used < CEILING / 4 {
                let seconds = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
                return Some((most.saturating_sub(CEILING) as f64 / f64::from(1 << 20), seconds));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if most > CEILING {
            return None;
        }
        // Nothing leaked: who was asked had still to be ended after the leak before this one, as systemd
        // ends a service of which the kernel killed a process.
    }
    panic!("{}: nothing leaks", job.name);
}
