use std::process::Command;

use super::rounds;
use crate::common::until;
use crate::lab::{Lab, add, note};
use crate::manager::{Job, kill};
use crate::result::Run;

const FIGURE: &str = "Express, requests a second";
const RATIO: &str = "ratio to the same program by hand";

/// Everybody in turn, and each beside the same program by hand.
pub fn measure(lab: &Lab, run: &mut Run) {
    let mut guests = lab.guests_for_node();
    let jobs: Vec<_> = guests
        .iter_mut()
        .map(|guest| {
            let job = lab.express("express");
            guest.start(&job);
            (guest.name, job)
        })
        .collect();
    let bare = lab.express("bare");
    let child = Command::new(&bare.command[0])
        .args(&bare.command[1..])
        .env("PORT", bare.port.to_string())
        .spawn();
    let mut child = child.expect("node is installed");
    until("it listens", || bare.ask("/").is_ok());
    wrk(&bare);
    for _ in 0..rounds(7) {
        for (name, job) in &jobs {
            // V8 lets go of what it compiled while nobody asked: who waited for the others' turns comes to speed first.
            wrk(job);
            let (before, rate, after) = (wrk(&bare), wrk(job), wrk(&bare));
            add(run, FIGURE, name, rate);
            add(run, RATIO, name, rate / f64::midpoint(before, after));
        }
    }
    for name in guests.iter().filter(|guest| guest.is_for_node).map(|guest| guest.name) {
        note(run, FIGURE, name, "of two processes");
    }
    kill(child.id());
    child.wait().expect("ours");
    guests.iter_mut().for_each(|guest| guest.manager.end());
}

fn wrk(job: &Job) -> f64 {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c64", "-d3s"]);
    crate::common::wrk(command, &format!("http://127.0.0.1:{}/", job.port))
}
