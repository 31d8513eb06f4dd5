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
        (Verb::List, "list, ms", None),
        (Verb::Restart, "restart, ms", Some("restart until it serves, ms")),
        (Verb::Stop, "stop, ms", None),
        (Verb::Start, "start, ms", Some("start until it serves, ms")),
    ];
    for _ in 0..rounds(10) {
        rest();
        for (verb, figure, until_it_serves) in verbs {
            for (guest, job) in &jobs {
                let Some(command) = guest.manager.order(verb, job) else {
                    note(run, figure, guest.name, "has none");
                    continue;
                };
                let is_up = verb == Verb::Restart;
                let before = if is_up { job.ask("/").expect("it serves") } else { String::new() };
                let begun = Instant::now();
                ok(command);
                add(run, figure, guest.name, ms(begun));
                if let Some(figure) = until_it_serves {
                    job.answers_anew(&before);
                    add(run, figure, guest.name, ms(begun));
                }
            }
        }
    }
    guests.iter_mut().for_each(|guest| guest.manager.end());
}
