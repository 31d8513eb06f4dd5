use std::time::{Duration, Instant};

use super::rounds;
use crate::common::under_load;
use crate::lab::{Guest, Lab, add, note};
use crate::manager::{Job, Verb, kill, ok};
use crate::result::Run;

/// Everybody in turn: what fails of four thousand requests in ten seconds.
pub fn measure(lab: &Lab, run: &mut Run) {
    let things = [
        ("nothing", None),
        ("SIGKILL of the app", None),
        ("restart", Some(Verb::Restart)),
        ("reload", Some(Verb::Reload)),
        ("breach of the ceiling", None),
    ];
    lab.each_for_node(|mut guest| {
        let mut job = lab.express("express");
        job.ceiling = Some(256 << 20);
        guest.start(&job);
        for (thing, verb) in things {
            let figure = format!("{thing}: failed of 4,000");
            let is_breach = thing.starts_with("breach");
            let order = verb.map(|verb| guest.manager.order(verb, &job));
            if order.as_ref().is_some_and(Option::is_none) || is_breach && !guest.has_ceiling {
                note(run, &figure, guest.name, "has none");
                continue;
            }
            for _ in 0..rounds(3) {
                let failed = load(&job, || disturb(&guest, &job, thing, verb));
                add(run, &figure, guest.name, failed);
                job.answers_anew("");
                std::thread::sleep(Duration::from_secs(2));
            }
        }
        guest.manager.end();
    });
}

fn disturb(guest: &Guest, job: &Job, thing: &str, verb: Option<Verb>) {
    if let Some(verb) = verb {
        return ok(guest.manager.order(verb, job).expect("it has one"));
    }
    match thing {
        "SIGKILL of the app" => job.processes().into_iter().take(1).for_each(kill),
        "nothing" => {}
        // Its answer never comes, and is nobody's request of the four thousand.
        _ => drop(job.ask("/leak")),
    }
}

/// Ten seconds of four hundred new connections a second; `what` is done in their midst.
fn load(job: &Job, what: impl FnOnce()) -> f64 {
    let client = || {
        let job = job.clone();
        move || job.ask("/slow").map(drop).map_err(|error| error.kind())
    };
    let begun = Instant::now();
    let [_, broken, refused, timed_out] = under_load(client, || {
        std::thread::sleep(Duration::from_secs(3));
        what();
        std::thread::sleep(Duration::from_secs(10).saturating_sub(begun.elapsed()));
    });
    (broken + refused + timed_out) as f64
}
