//! `--trace`: a line for each step of a start, of every process that has a part in it.

mod bed;

use bed::{Bed, get, texts};

/// From when, how long, by whom, and what.
#[derive(Debug)]
struct Step {
    from: f64,
    took: f64,
    by: String,
    what: String,
}

fn traced(bed: &Bed, words: &[&str]) -> (String, Vec<Step>) {
    let output = bed.swrun(words);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{words:?}: {out}{err}");
    let (_, trace) = out.split_once("\n\n").expect("a trace behind the outcome");
    let mut lines = trace.lines();
    let title = lines.next().expect("a title").to_owned();
    let steps = lines.skip(1).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse().unwrap_or_else(|_| panic!("{line}"));
        // Of an instance its number stands behind.
        let is_numbered = words[3].parse::<u32>().is_ok();
        let what = words[3 + usize::from(is_numbered)..].join(" ");
        Step { from: number(0), took: number(1), by: words[2].to_owned(), what }
    });
    (title, steps.collect())
}

/// Each process does one after the other, and hardly a moment is nobody's.
fn is_gapless(steps: &[Step]) {
    for by in ["swrun", "init", "app"] {
        let own: Vec<&Step> = steps.iter().filter(|step| step.by == by).collect();
        assert!(!own.is_empty(), "nothing of {by}: {steps:?}");
        for pair in own.windows(2) {
            assert!(pair[0].from + pair[0].took <= pair[1].from + 0.02, "{pair:?}");
        }
    }
    let end = steps.iter().map(|step| step.from + step.took).fold(0.0, f64::max);
    // Without what only waits for the others.
    let at_work: Vec<&Step> = steps.iter().filter(|step| !step.what.starts_with("give")).collect();
    let (mut covered, mut until) = (0.0, 0.0_f64);
    for step in at_work {
        covered += (step.from + step.took - until.max(step.from)).max(0.0);
        until = until.max(step.from + step.took);
    }
    assert!(covered > end * 0.8, "{covered} of {end} ms: {steps:?}");
}

fn has(steps: &[Step], by: &str, what: &str) {
    assert!(
        steps.iter().any(|step| step.by == by && step.what.contains(what)),
        "{by}: {what}: {steps:?}"
    );
}

#[test]
fn where_the_time_of_a_start_goes_is_told_step_by_step() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "[restart]\nfirst-delay = \"1ms\"\n");
    let (title, steps) = traced(&bed, &["start", "shop", "--trace"]);
    assert_eq!(title, "shop: what it took");
    is_gapless(&steps);
    for (by, what) in [
        ("runner", "read its profile"),
        ("runner", "start its monitor"),
        ("monitor", "make its groups"),
        ("monitor", "fork its init"),
        ("init", "build the cage"),
        ("app", "filter its system calls"),
        ("monitor", "wait until it is up"),
    ] {
        has(&steps, by, what);
    }

    let (title, steps) = traced(&bed, &["restart", "shop", "--trace"]);
    assert_eq!(title, "shop: what it took");
    is_gapless(&steps);
    has(&steps, "monitor", "try the start out");
    has(&steps, "monitor", "end the one before");
    let is_before = |step: &Step| step.what.contains("start its monitor");
    assert!(!steps.iter().any(is_before), "its monitor is the one from before: {steps:?}");

    // A crash that nobody watched.
    let _ = get(app.port, "/crash?code=7");
    bed.until(&app, "a restart", |status| status["state"] == "online" && status["restarts"] == 2);
    let (title, steps) = traced(&bed, &["start", "shop", "--trace"]);
    assert!(title.starts_with("shop: nothing was started; what its last start took, "), "{title}");
    has(&steps, "monitor", "see how it ended");
    has(&steps, "app", "wait for the cage");
    assert!(!steps.iter().any(|step| step.what.contains("end the one before")), "{steps:?}");
    bed.end();
}
