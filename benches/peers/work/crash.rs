use std::time::Instant;

use super::{rest, rounds};
use crate::lab::{Guest, Lab, add, ms};
use crate::manager::{Job, kill};
use crate::result::Run;

/// Everybody in turn: the app that answers is killed, and asked for until another answers.
pub fn measure(lab: &Lab, run: &mut Run) {
    let mut guests = lab.guests();
    let small = "small program, ms";
    let express = "Express, ms";
    for (figure, times) in [(small, rounds(15)), (express, rounds(7))] {
        let mut jobs: Vec<(&mut Guest, Job)> = Vec::new();
        for guest in &mut guests {
            let job =
                if figure == small { lab.small("small", &[]) } else { lab.express("express") };
            guest.start(&job);
            jobs.push((guest, job));
        }
        rest();
        for _ in 0..times {
            for (guest, job) in &jobs {
                let before = job.ask("/").expect("it serves");
                let apps = job.processes();
                let begun = Instant::now();
                apps.into_iter().for_each(kill);
                job.answers_anew(&before);
                add(run, figure, guest.name, ms(begun));
            }
            rest();
        }
    }
    guests.iter_mut().for_each(|guest| guest.manager.end());
}
