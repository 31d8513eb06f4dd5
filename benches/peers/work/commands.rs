use std::time::Instant;

use super::{rest, rounds};
use crate::lab::{Lab, add, ms, note};
use crate::manager::{Verb, ok};
use crate::result::Run;

/// Everybody in turn; each command as a whole process.
pub fn measure(lab: &Lab, run: &mut Run) {
    let mut guests = lab.guests();
    let jobs: Vec<_> = guests
        .iter_mut()
        .map(|guest| {
            let job = lab.small("small", &[]);
            guest.start(&job);
            (guest, job)
        })
        .collect();
    let verbs = [
        (Verb::List, "list, ms"),
        (Verb::Restart, "restart, ms"),
        (Verb::Stop, "stop, ms"),
        (Verb::Start, "start, ms"),
    ];
    for _ in 0..rounds(10) {
        rest();
        for (verb, figure) in verbs {
            for (guest, job) in &jobs {
                let Some(command) = guest.manager.order(verb, job) else {
                    note(run, figure, guest.name, "has none");
                    continue;
                };
                let begun = Instant::now();
                ok(command);
                add(run, figure, guest.name, ms(begun));
                // Only what has come up is stopped or restarted.
                match verb {
                    Verb::Start | Verb::Restart => drop(job.answers_anew("")),
                    Verb::Stop | Verb::List | Verb::Reload => {}
                }
            }
        }
    }
    guests.iter_mut().for_each(|guest| guest.manager.end());
}
