use std::fs;
use std::time::{Duration, Instant};

use super::rounds;
use crate::lab::{Lab, add, note};
use crate::result::Run;

const JOBS: usize = 3;
const LONGEST: Duration = Duration::from_secs(3);

/// What a manager remembers is cut, as by a disk that was full or a host that lost its power, and it is started. Both
/// that write such a file write a small one: swrun's is cut at every byte, PM2's, of which a start takes a second, at
/// sixty places.
pub fn measure(lab: &Lab, run: &mut Run) {
    for _ in 0..rounds(3) {
        once(lab, run);
    }
}

fn once(lab: &Lab, run: &mut Run) {
    let (cuts, lost, least) =
        ("cuts", "cuts after which a program was lost", "programs that came back at least, of 3");
    lab.each(|mut guest| {
        let Some(file) = guest.manager.memory() else {
            note(run, cuts, guest.name, "writes no such file");
            return guest.manager.end();
        };
        let jobs: Vec<_> = (0..JOBS).map(|n| lab.small(&format!("job{n}"), &[])).collect();
        guest.manager.add_all(&jobs);
        jobs.iter().for_each(|job| drop(job.answers_anew("")));
        let whole = fs::read(&file).expect("it was written");
        let places = if guest.name == "swrun" { whole.len() } else { 60 };
        // Fewer for a quick look.
        let step = whole.len().div_ceil(rounds(u32::MAX).min(places as u32) as usize);
        let (mut losses, mut fewest, mut all) = (0, JOBS, 0);
        for length in (0..whole.len()).step_by(step) {
            guest.manager.reboot(&|| fs::write(&file, &whole[..length]).expect("root may"));
            let begun = Instant::now();
            let serving = || jobs.iter().filter(|job| job.ask_within("/", LONGEST).is_ok()).count();
            let mut back = serving();
            while back < JOBS && begun.elapsed() < LONGEST {
                std::thread::sleep(Duration::from_millis(50));
                back = serving();
            }
            all += 1;
            losses += usize::from(back < JOBS);
            fewest = fewest.min(back);
            // What was lost is there again for the next one.
            if back < JOBS {
                guest.manager.reboot(&|| fs::write(&file, &whole).expect("root may"));
            }
        }
        for (figure, value) in [(cuts, all), (lost, losses), (least, fewest)] {
            add(run, figure, guest.name, value as f64);
        }
        guest.manager.end();
    });
}
