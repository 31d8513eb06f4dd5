//! What environments used is kept, read while it is written, and judged: with real programs that leak and do not.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bed::{App, Bed, get, is_guest, pid};
use serde_json::Value;
use swrun::formats::history::{self, History, RINGS};
use swrun::model::{LeakVerdict, Usage};
use swrun::policy::leak::{self, Look};

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn file(bed: &Bed, app: &App) -> PathBuf {
    bed.root().join("var/lib/swrun/env").join(format!("{}.history", app.name))
}

fn spans(bed: &Bed, app: &App, since: &str) -> Vec<Value> {
    let said = bed.ok(&["history", &app.name, "--since", since, "--json"]);
    let document: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(document["environment"], app.name.as_str());
    document["spans"].as_array().expect("spans").clone()
}

fn samples(spans: &[Value]) -> u64 {
    spans.iter().map(|span| span["samples"].as_u64().expect("a number")).sum()
}

/// Asks for the status as somebody does who watches.
fn watch(bed: &Bed, seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        bed.ok(&["status", "--json"]);
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn what_is_used_is_kept_over_a_kill_and_shown() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    get(app.port, "/leak?mb=8").expect("it serves");
    watch(&bed, 6);
    let seen = spans(&bed, &app, "5m");
    let before = samples(&seen);
    assert!(before >= 4, "each second while somebody watches: {before}");
    let last = seen.last().expect("one");
    assert!(last["anon_max"].as_u64().is_some_and(|anon| anon > 8 << 20), "{last:#}");
    assert!(last["anon_min"].as_u64() <= last["anon"].as_u64(), "{last:#}");
    assert!(last["pids_max"].as_u64().is_some_and(|pids| pids >= 1), "{last:#}");
    assert!(seen.iter().any(|span| span["cpu_percent"].is_f64()), "{seen:#?}");
    assert!(
        last["memory_pressure"].is_f64() || !fs::exists("/proc/pressure/memory").unwrap_or(false)
    );
    assert_eq!(last["instances"], 1);

    // Its monitor is killed: the next one goes on with the same spans.
    let first = pid(&bed.status(&app));
    bed::kill(kernel::monitor(&bed, &app));
    bed.until(&app, "another", |now| now["state"] == "online" && pid(now) != first);
    watch(&bed, 4);
    let after = spans(&bed, &app, "5m");
    assert!(samples(&after) > before, "{before}, then {}", samples(&after));
    let whole: u64 = after.iter().map(|span| span["restarts"].as_u64().unwrap_or(0)).sum();
    assert!(whole <= 1, "{after:#?}");

    // As people read it.
    let chart = bed.ok(&["history", "shop", "--since", "1h"]);
    assert!(chart.contains("anonymous memory, at most") && chart.contains('█'), "{chart}");
    let table = bed.ok(&["history", "shop", "--since", "1h", "--csv"]);
    let columns: Vec<usize> = table.lines().map(|line| line.split(',').count()).collect();
    assert!(columns.len() > 1 && columns.iter().all(|count| *count == columns[0]), "{table}");
    bed.fails(2, &["history", "shop", "--since", "soon"]);
    bed.fails(1, &["history", "nobody"]);

    // Bounded, root's own, and gone with the environment.
    let path = file(&bed, &app);
    let found = fs::metadata(&path).expect("there");
    assert!(found.len() < 2 << 20 && found.blocks() * 512 < 2 << 20, "{found:?}");
    assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o600));
    bed.ok(&["delete", "shop"]);
    assert!(!path.exists());
    bed.end();
}

#[test]
fn a_damaged_history_is_set_aside_and_a_newer_one_is_left() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let path = file(&bed, &app);
    fs::write(&path, vec![7; 5000]).expect("root's folder");
    bed.start(&app);
    let said = bed.ok(&["events", "shop"]);
    assert!(said.contains("could not be understood"), "{said}");
    watch(&bed, 3);
    assert!(!spans(&bed, &app, "5m").is_empty());
    bed.ok(&["stop", "shop"]);
    let mut bytes = fs::read(&path).expect("there");
    bytes[8] = 9;
    fs::write(&path, &bytes).expect("root's folder");
    bed.start(&app);
    let said = bed.ok(&["events", "shop"]);
    assert!(said.contains("no history is kept") && said.contains("version 9"), "{said}");
    watch(&bed, 2);
    assert_eq!(fs::read(&path).expect("there"), bytes, "untouched");
    assert!(bed.fails(1, &["history", "shop"]).contains("version 9"));
    bed.end();
}

/// Three lives of six hours, each of which climbs to the ceiling.
fn three_lives(path: &std::path::Path, ceiling: u64) {
    let (mut history, _) = History::open(path).expect("begun");
    let begin = now() - 3 * 6 * 3600 - 600;
    for minute in 0..3 * 360 {
        let (life, of_life) = (minute / 360, minute % 360);
        let share = 0.2 + 0.7 * f64::from(of_life) / 360.0;
        let usage = Usage {
            at: begin + u64::from(minute) * 60,
            // Before those that will be.
            life,
            instances: 1,
            anon: Some((share * ceiling as f64) as u64),
            cpu: Some(1.0),
            ..Usage::default()
        };
        history.add(&usage, false).expect("written");
    }
}

#[test]
fn a_leak_is_told_and_met_by_a_reload_before_the_ceiling() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let rules = "[limits]\nmemory-max = \"64M\"\n[leak]\naction = \"reload\"\n";
    bed.probe(&app, rules);
    three_lives(&file(&bed, &app), 64 << 20);
    let first = pid(&bed.start(&app));
    let leaks = || -> Value {
        let said = bed.ok(&["leaks", "--json"]);
        let document: Value = serde_json::from_str(&said).expect("JSON");
        document["environments"][0].clone()
    };
    kernel::until("it is told", || leaks()["leak"]["verdict"] == "leaking");
    let found = leaks();
    assert!(found["leak"]["lives"].as_u64().is_some_and(|lives| lives >= 3), "{found:#}");
    assert!(found["leak"]["confidence"].as_f64() > Some(0.99), "{found:#}");
    let growth = found["leak"]["bytes_per_hour"].as_f64().expect("a number");
    let wanted = 0.7 / 6.0 * f64::from(64 << 20);
    assert!((growth / wanted - 1.0).abs() < 0.2, "{growth} for {wanted}");
    assert!(found["text"].as_str().is_some_and(|text| text.contains("lives climbed alike")));
    assert!(bed.ok(&["leaks"]).contains("leaking"));
    assert!(bed.ok(&["events"]).contains("memory: it leaks"));
    assert_eq!(pid(&bed.status(&app)), first, "there is room still");
    // Now there is not.
    get(app.port, "/leak?mb=57").expect("it serves");
    let is_next = |now: &Value| now["state"] == "online" && pid(now) != first;
    let after = bed.until(&app, "it is reloaded", is_next);
    assert_eq!(after["last_exit"]["cause"], "restarted", "{after:#}");
    assert!(bed.ok(&["events"]).contains("it is reloaded, since it leaks"));
    bed.end();
}

/// The last seconds of an environment as if they were minutes of five, without its warm-up.
fn stretched(path: &std::path::Path, seconds: u64) -> Vec<Look> {
    let [fine, ..] = RINGS;
    let spans = history::read(path, fine, now() - seconds, now()).expect("kept");
    let looks = spans.iter().map(|span| Look {
        at: span.at * 300,
        life: span.life,
        trough: span.anon_min.expect("known"),
        // Of single seconds it is the machine's noise.
        load: Some(1.0),
        minutes: 1,
    });
    looks.collect()
}

#[test]
fn real_programs_that_leak_and_do_not_are_told_apart() {
    if is_guest() {
        eprintln!("skipped: real_programs: Node takes minutes to start in the guest");
        return;
    }
    let bed = Bed::running();
    let script = fs::read_to_string("tests/fixtures/leaks.js").expect("the fixture");
    let apps = ["leaks", "keeps"].map(|name| {
        let app = bed.app(name);
        fs::write(app.home.join("app.js"), &script).expect("ours");
        let rules = "[limits]\nmemory-max = \"256M\"\n";
        bed.profile(&app, &["node", "app.js", name], rules);
        bed.start(&app);
        app
    });
    // Its heap gets to the size it wants.
    std::thread::sleep(Duration::from_secs(15));
    let seconds = 80;
    watch(&bed, seconds);
    let [leaking, keeping] = apps.map(|app| {
        let looks = stretched(&file(&bed, &app), seconds - 2);
        let judged = leak::judge(&looks, 256 << 20);
        println!("{}: {} looks, {judged:?}", app.name, looks.len());
        judged
    });
    assert_eq!(leaking.verdict, LeakVerdict::Leaking, "{leaking:?}");
    assert!(keeping.verdict < LeakVerdict::Suspected, "{keeping:?}");
    bed.end();
}
