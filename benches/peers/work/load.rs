use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::rounds;
use crate::common::under_load;
use crate::lab::{Guest, Lab, add, note};
use crate::manager::{Job, Verb, kill, ok};
use crate::result::Run;

/// How long each is under load.
const TIME: Duration = Duration::from_secs(6);

/// One after the other: what fails of two thousand four hundred requests in six seconds, and of those that wrk makes
/// beside them.
pub fn measure(lab: &Lab, run: &mut Run) {
    let things = [
        ("nothing", None),
        ("SIGKILL of the app", None),
        ("restart", Some(Verb::Restart)),
        ("reload", Some(Verb::Reload)),
        ("redeploy", Some(Verb::Reload)),
        ("breach of the ceiling", None),
    ];
    lab.each_for_node(|mut guest| {
        let mut job = lab.express("express");
        job.ceiling = Some(256 << 20);
        guest.start(&job);
        for (thing, verb) in things {
            let figure = format!("{thing}: failed of 2,400");
            let by_wrk = format!("{thing}: errors that wrk has");
            let is_breach = thing.starts_with("breach");
            let mut verb = verb;
            if thing == "redeploy" && guest.manager.order(Verb::Reload, &job).is_none() {
                verb = Some(Verb::Restart);
            }
            let order = verb.map(|verb| guest.manager.order(verb, &job));
            if order.as_ref().is_some_and(Option::is_none) || is_breach && !guest.has_ceiling {
                note(run, &figure, guest.name, "has none");
                continue;
            }
            for _ in 0..rounds(3) {
                let (failed, errors) = load(&job, || disturb(&guest, &job, thing, verb));
                add(run, &figure, guest.name, failed);
                add(run, &by_wrk, guest.name, errors);
                job.answers_anew("");
                super::rest();
            }
        }
        guest.manager.end();
    });
}

fn disturb(guest: &Guest, job: &Job, thing: &str, verb: Option<Verb>) {
    if thing == "redeploy" {
        let script = job.home.join("index.js");
        let text = std::fs::read_to_string(&script).expect("ours");
        std::fs::write(&script, text + "// and a line more\n").expect("ours");
    }
    if let Some(verb) = verb {
        return ok(guest.manager.order(verb, job).expect("it has one"));
    }
    match thing {
        "SIGKILL of the app" => job.processes().into_iter().take(1).for_each(kill),
        "nothing" => {}
        // Its answer never comes, and is not one of the requests that count.
        _ => drop(job.ask("/leak")),
    }
}

/// Four hundred new connections a second, and beside them wrk with eight that it keeps; `what` is done in their midst.
/// What failed of each.
fn load(job: &Job, what: impl FnOnce()) -> (f64, f64) {
    let wrk = wrk(job);
    let client = || {
        let job = job.clone();
        move || job.ask("/slow").map(drop).map_err(|error| error.kind())
    };
    let begun = Instant::now();
    let [_, broken, refused, timed_out] = under_load(client, || {
        std::thread::sleep(TIME / 3);
        what();
        std::thread::sleep(TIME.saturating_sub(begun.elapsed()));
    });
    ((broken + refused + timed_out) as f64, errors_of(wrk))
}

fn wrk(job: &Job) -> Child {
    let (time, url) = (TIME.as_secs(), format!("http://127.0.0.1:{}/slow", job.port));
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c8", &format!("-d{time}s"), "--timeout", "5s", &url]);
    command.stdout(Stdio::piped()).spawn().expect("wrk is among the unpacked packages")
}

/// Its socket errors of all kinds, and answers of another status.
fn errors_of(wrk: Child) -> f64 {
    let output = wrk.wait_with_output().expect("ours");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Requests/sec"), "{text}");
    let lines = text.lines().filter(|line| line.contains("errors:") || line.contains("Non-2xx"));
    let number = |word: &str| word.trim_end_matches(',').parse::<f64>().ok();
    lines.flat_map(str::split_whitespace).filter_map(number).fold(0.0, |sum, more| sum + more)
}
