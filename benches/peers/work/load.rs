use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::rounds;
use crate::lab::{Guest, Lab, add, note};
use crate::manager::{Job, Verb, kill, ok};
use crate::result::Run;

const CLIENTS: u32 = 16;
const EVERY: Duration = Duration::from_millis(40);

/// Everybody in turn: what fails of four thousand requests in ten seconds.
pub fn measure(lab: &Lab, run: &mut Run) {
    let things = [
        ("nothing", None),
        ("SIGKILL of the app", None),
        ("restart", Some(Verb::Restart)),
        ("reload", Some(Verb::Reload)),
        ("breach of the ceiling", None),
    ];
    lab.each(|mut guest| {
        let mut job = lab.express("express");
        job.ceiling = Some(256 << 20);
        guest.manager.add(&job);
        job.answers_anew("");
        for (thing, verb) in things {
            let figure = format!("{thing}: failed of 4,000");
            let is_breach = thing.starts_with("breach");
            let has_ceiling = matches!(guest.name, "swrun" | "PM2" | "PM2, cluster" | "systemd");
            let order = verb.map(|verb| guest.manager.order(verb, &job));
            if order.as_ref().is_some_and(Option::is_none) || is_breach && !has_ceiling {
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
    let failed = Arc::<AtomicU64>::default();
    let is_over = Arc::<AtomicBool>::default();
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (failed, is_over, job) = (Arc::clone(&failed), Arc::clone(&is_over), job.clone());
            std::thread::spawn(move || {
                let mut next = begun + EVERY / CLIENTS * number;
                while !is_over.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    next = (next + EVERY).max(Instant::now());
                    if job.ask("/slow").is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    what();
    std::thread::sleep(Duration::from_secs(10).saturating_sub(begun.elapsed()));
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client");
    }
    failed.load(Ordering::Relaxed) as f64
}
