use std::time::Duration;

use super::rounds;
use crate::common::until;
use crate::lab::{Lab, add};
use crate::manager::{Verb, kill, ok};
use crate::result::Run;

/// Everybody in turn.
pub fn measure(lab: &Lab, run: &mut Run) {
    lab.each(|mut guest| {
        for round in 0..rounds(3) {
            let job = lab.small(&format!("parent{round}"), &[]);
            guest.start(&job);
            job.ask("/daemon").expect("it serves");
            until("the grandchild", || job.processes().len() == 2);
            match guest.manager.order(Verb::Stop, &job) {
                Some(stop) => ok(stop),
                // It stops all or nothing.
                None => guest.manager.end(),
            }
            std::thread::sleep(Duration::from_secs(2));
            let left = job.processes();
            add(run, "processes left after stop", guest.name, left.len() as f64);
            left.into_iter().for_each(kill);
        }
        guest.manager.end();
    });
}
