use std::time::Duration;

use super::rounds;
use crate::lab::{Guest, Lab, add};
use crate::manager::{Job, kill};
use crate::result::Run;

const JOBS: usize = 3;
const LONGEST: Duration = Duration::from_secs(2);

/// One after the other, each with a manager of its own in each round: programs that one forgot can't be told from new ones.
pub fn measure(lab: &Lab, run: &mut Run) {
    for _ in 0..rounds(3) {
        lab.each_for_node(|guest| lose(lab, run, guest));
    }
}

/// The manager is killed, and started again as the host would.
fn lose(lab: &Lab, run: &mut Run, mut guest: Guest) {
    let jobs: Vec<_> = (0..JOBS)
        .map(|number| {
            let name = format!("job{number}");
            if guest.is_for_node { lab.express(&name) } else { lab.small(&name, &[]) }
        })
        .collect();
    guest.manager.add_all(&jobs);
    jobs.iter().for_each(|job| drop(job.answers_anew("")));
    let count = || jobs.iter().map(|job| job.processes().len()).sum::<usize>();
    let serving = || jobs.iter().filter(|job| job.ask_within("/", LONGEST).is_ok()).count() as f64;
    let processes = count();
    kill(guest.manager.main());
    std::thread::sleep(Duration::from_secs(1));
    add(run, "serving a second later, of 3", guest.name, serving());
    guest.manager.again();
    std::thread::sleep(Duration::from_secs(5));
    add(run, "serving once it is back, of 3", guest.name, serving());
    let more = count().saturating_sub(processes);
    add(run, "processes too many", guest.name, more as f64);
    jobs.iter().flat_map(Job::processes).for_each(kill);
    std::thread::sleep(Duration::from_secs(5));
    add(run, "serving after each was killed, of 3", guest.name, serving());
    guest.manager.end();
    jobs.iter().flat_map(Job::processes).for_each(kill);
}
