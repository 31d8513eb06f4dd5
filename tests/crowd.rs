//! Of more environments than are asked for one status, the others are shown as their monitors told: it is as true.

mod bed;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bed::{App, Bed};
use serde_json::Value;

/// More than the runner asks at once.
const COUNT: usize = 40;

fn all(bed: &Bed) -> BTreeMap<String, Value> {
    let output = bed.swrun(&["status", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("a status");
    let list = document["environments"].as_array().expect("a list").clone();
    list.into_iter().map(|one| (one["name"].as_str().expect("a name").to_owned(), one)).collect()
}

fn crowd(bed: &Bed) -> Vec<App> {
    let apps: Vec<App> = (0..COUNT).map(|number| bed.app(&format!("shop{number}"))).collect();
    for app in &apps {
        bed.probe(app, "");
    }
    bed.ok(&["start"]);
    apps
}

#[test]
fn a_status_of_many_is_as_true_as_one_of_few() {
    let bed = Bed::running();
    let apps = crowd(&bed);
    // Twice: whoever was not asked the first time is asked now, and the other way round.
    for _ in 0..3 {
        let told = all(&bed);
        assert_eq!(told.len(), COUNT);
        for app in &apps {
            let one = &told[&app.name];
            let asked = bed.ok(&["show", &app.name, "--json"]);
            let asked: Value = serde_json::from_str(&asked).expect("a document");
            let asked = &asked["status"];
            for key in [
                "state",
                "wanted",
                "pid",
                "monitor_pid",
                "ports",
                "restarts",
                "target",
                "user",
                "release",
            ] {
                assert_eq!(one[key], asked[key], "{}: {key}", app.name);
            }
            // As of its last sample; some touch their first pages after it.
            assert!(one["memory"]["current"].as_u64().expect("known") > 4096, "{}", app.name);
            assert_eq!(one["memory"]["max"], asked["memory"]["max"], "{}", app.name);
            let uptime = |of: &Value| of["uptime_s"].as_i64().expect("it is up");
            assert!((uptime(one) - uptime(asked)).abs() <= 2, "{}", app.name);
        }
    }
    // What an order has done is seen at once, whoever is asked.
    for app in &apps[..8] {
        bed.ok(&["restart", &app.name]);
        let now = &all(&bed)[&app.name];
        assert_eq!((&now["state"], &now["restarts"]), (&"online".into(), &1.into()), "{now:#}");
        bed.ok(&["stop", &app.name]);
        let now = &all(&bed)[&app.name];
        assert_eq!((&now["state"], &now["pid"]), (&"stopped".into(), &Value::Null), "{now:#}");
        bed.ok(&["start", &app.name]);
    }
    // What is used is known after the next sample, of everybody.
    let before = all(&bed);
    for app in &apps {
        bed::get(app.port, "/leak?mb=8").expect("it serves");
    }
    let has_grown = |now: &BTreeMap<String, Value>| {
        let memory = |of: &Value| of["memory"]["current"].as_u64().expect("known");
        apps.iter().all(|app| memory(&now[&app.name]) > memory(&before[&app.name]) + (6 << 20))
    };
    let begun = Instant::now();
    while !has_grown(&all(&bed)) {
        assert!(begun.elapsed() < Duration::from_secs(15), "not seen after a sample");
        std::thread::sleep(Duration::from_millis(200));
    }
    bed.end();
}

#[test]
fn a_monitor_that_hangs_is_found_among_many() {
    let bed = Bed::running();
    let apps = crowd(&bed);
    let before = all(&bed);
    // The last by its name: one that is not among the first to be asked.
    let app = &apps[9];
    assert_eq!(before.keys().next_back(), Some(&app.name));
    let monitor = before[&app.name]["monitor_pid"].as_i64().expect("known");
    let monitor =
        rustix::process::Pid::from_raw(i32::try_from(monitor).expect("a pid")).expect("a pid");
    rustix::process::kill_process(monitor, rustix::process::Signal::STOP).expect("it lives");
    let says_so = |one: &Value| one["reason"] == "its monitor does not answer";
    let found = (0..3).find(|_| says_so(&all(&bed)[&app.name]));
    assert!(found.is_some(), "not found");
    // It stays known, and the others are not taken for such.
    for _ in 0..2 {
        let now = all(&bed);
        assert!(says_so(&now[&app.name]));
        assert_eq!(now.values().filter(|one| says_so(one)).count(), 1);
    }
    rustix::process::kill_process(monitor, rustix::process::Signal::CONT).expect("it lives");
    bed.until(app, "it answers again", |now| now["reason"].is_null());
    bed.end();
}
