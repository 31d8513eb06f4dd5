//! `--trace`: a line for each step of a start, of every process that has a part in it.

mod bed;
#[path = "common/traced.rs"]
mod traced;

use bed::{Bed, get};
use traced::{Step, traced};

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
