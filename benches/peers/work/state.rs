use std::fs;
use std::time::Duration;

use super::rounds;
use crate::lab::{Lab, add, note};
use crate::manager::comes;
use crate::result::Run;

const JOBS: usize = 3;
const FIGURE: &str = "programs back after a boot, of 3, least";

/// One after the other: all is ended, the saved state is cut short, and it starts as at a boot. At so many places, evenly
/// over the whole file, the empty one among them.
pub fn measure(lab: &Lab, run: &mut Run) {
    let places = rounds(16);
    lab.each(|mut guest| {
        if guest.name == "PM2, cluster" {
            return guest.manager.end();
        }
        if guest.manager.state().is_none() {
            note(run, FIGURE, guest.name, "keeps none: its configuration is its state");
            return guest.manager.end();
        }
        let jobs: Vec<_> = (0..JOBS).map(|n| lab.small(&format!("job{n}"), &[])).collect();
        for job in &jobs {
            guest.manager.add(job);
            job.answers_anew("");
        }
        for place in 0..places {
            guest.manager.shut_down();
            let path = guest.manager.state().expect("it has one");
            let text = fs::read(&path).expect("it is saved");
            let cut = text.len() * place as usize / places as usize;
            fs::write(&path, &text[..cut]).expect("root may");
            guest.manager.boot();
            let serving = || jobs.iter().filter(|job| job.ask("/").is_ok()).count();
            comes(Duration::from_secs(5), || serving() == JOBS);
            add(run, FIGURE, guest.name, serving() as f64);
            // As it was, for the next place.
            guest.manager.shut_down();
            fs::write(&path, &text).expect("root may");
            guest.manager.boot();
            comes(Duration::from_secs(10), || serving() == JOBS);
        }
        guest.manager.end();
    });
}
