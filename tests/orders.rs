//! Orders that meet: more at once than may wait, and a stop that finds others waiting.

mod bed;
#[path = "common/census.rs"]
mod census;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bed::{App, Bed, get, is_guest, patience, pid, probe, texts};
use serde_json::Value;

/// An order that runs beside the test.
fn order(bed: &Bed, words: &[&str]) -> Child {
    Command::new(bed::swrun())
        .args(words)
        .env("SWRUN_ROOT", bed.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program under test")
}

/// How an order went, and all that it said.
fn outcome(order: Child) -> (bool, String) {
    let output = order.wait_with_output().expect("our own child");
    let (out, err) = texts(&output);
    (output.status.success(), out + &err)
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience();
    while !is() {
        assert!(Instant::now() < deadline, "{what}: not so");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An app that listens on its port once a file is there, and not before.
fn gated(bed: &Bed, name: &str) -> (App, PathBuf) {
    let app = bed.app(name);
    let gate = app.home.join("go");
    bed.env_file(&app, &format!("PORT={}\n", app.port));
    let probe = probe::path().display();
    let script =
        format!("while ! [ -e {} ]; do sleep 0.02; done; exec {probe} serve", gate.display());
    let more = format!("ports = [{}]\nread-only = [\"{probe}\"]", app.port);
    bed.profile(&app, &["/bin/sh", "-c", &script], &more);
    (app, gate)
}

/// Long before an order gives up by itself (a minute), if not at once.
fn soon() -> Duration {
    Duration::from_secs(if is_guest() { 45 } else { 15 })
}

#[test]
fn of_too_many_orders_some_are_refused_and_the_others_carried_out_in_turn() {
    let bed = Bed::running();
    let (app, gate) = gated(&bed, "shop");
    let first = order(&bed, &["start", "shop"]);
    bed.until(&app, "the first has its turn", |status| status["state"] == "starting");
    let mut waiting: Vec<Child> = (0..10).map(|_| order(&bed, &["restart", "shop"])).collect();
    let mut refused = Vec::new();
    until("two are too many", || {
        let is_over = |order: &mut Child| order.try_wait().expect("our own child").is_some();
        refused.extend(waiting.extract_if(.., is_over));
        refused.len() == 2
    });
    for order in refused {
        let (succeeded, said) = outcome(order);
        assert!(!succeeded && said.contains("has too many orders waiting; try again"), "{said}");
    }
    assert_eq!(bed.status(&app)["state"], "starting", "others are served meanwhile");

    fs::write(gate, "").expect("ours");
    assert!(outcome(first).0);
    let mut pids = BTreeSet::new();
    for order in waiting {
        let (succeeded, said) = outcome(order);
        let (_, pid) = said.split_once("is online, pid ").unwrap_or_else(|| panic!("{said}"));
        assert!(succeeded, "{said}");
        pids.insert(pid.trim().parse::<i32>().expect("a pid"));
    }
    assert_eq!(pids.len(), 8, "each had an instance of its own");
    let events = bed.events(&app);
    let started = events.iter().filter(|event| event["event"] == "started");
    let started: Vec<_> = started.filter_map(|event| event["pid"].as_i64()).collect();
    assert_eq!(started.len(), 9, "{started:?}");
    // One after the other.
    let kinds = events.iter().filter_map(|event| event["event"].as_str());
    let kinds: Vec<_> = kinds.filter(|kind| ["started", "ended"].contains(kind)).collect();
    assert!(
        kinds.chunks(2).all(|pair| matches!(pair, ["started", "ended"] | ["started"])),
        "{kinds:?}"
    );
    census::settle(&bed);
    let status = bed.status(&app);
    assert_eq!(i64::from(pid(&status)), started[8], "the last one runs");
    assert_eq!((&status["state"], &status["wanted"]), (&"online".into(), &"online".into()));
    assert!(get(app.port, "/").is_ok());
    // There is room again.
    bed.ok(&["restart", "shop"]);
    bed.end();
}

#[test]
fn a_stop_answers_a_start_that_waits_for_what_never_comes_up() {
    let bed = Bed::running();
    let (app, _gate) = gated(&bed, "shop");
    let start = order(&bed, &["start", "shop"]);
    bed.until(&app, "it waits", |status| status["state"] == "starting");
    let begun = Instant::now();
    bed.ok(&["stop", "shop"]);
    let (succeeded, said) = outcome(start);
    assert!(begun.elapsed() < soon(), "{:?}", begun.elapsed());
    assert!(!succeeded && said.contains("it was ordered to stop meanwhile"), "{said}");
    let status = bed.status(&app);
    assert_eq!((&status["state"], &status["wanted"]), (&"stopped".into(), &"stopped".into()));
    assert_eq!(status["pid"], Value::Null);
    bed.end();
}

/// The group of an environment's inits, frozen: an init that is born there comes no further.
struct Frozen(PathBuf);

impl Frozen {
    fn of(bed: &Bed, app: &App) -> Self {
        let tree = bed.groups().into_iter().find(|folder| folder.join("cgroup.events").exists());
        let group = tree.expect("the v2 tree").join(&app.name).join("init");
        let frozen = Self(group);
        frozen.write("1");
        frozen
    }

    fn write(&self, text: &str) {
        fs::write(self.0.join("cgroup.freeze"), text).expect("there, and root may");
    }

    fn count(&self) -> usize {
        fs::read_to_string(self.0.join("cgroup.procs")).expect("there").lines().count()
    }
}

#[test]
fn a_stop_is_not_lost_on_a_restart_that_has_not_come_to_its_wait() {
    let bed = Bed::running();
    let (app, gate) = gated(&bed, "shop");
    fs::write(&gate, "").expect("ours");
    bed.start(&app);
    fs::remove_file(gate).expect("ours");
    let frozen = Frozen::of(&bed, &app);
    let restart = order(&bed, &["restart", "shop"]);
    until("it is being tried out", || frozen.count() == 2);
    let begun = Instant::now();
    let stop = order(&bed, &["stop", "shop"]);
    // It has its request read once a later one is answered, behind it in the queue.
    for _ in 0..5 {
        bed.status(&app);
    }
    frozen.write("0");
    let (succeeded, said) = outcome(restart);
    assert!(!succeeded && said.contains("it was ordered to stop meanwhile"), "{said}");
    let (succeeded, said) = outcome(stop);
    assert!(succeeded, "{said}");
    assert!(begun.elapsed() < soon(), "{:?}", begun.elapsed());
    assert_eq!(bed.status(&app)["state"], "stopped");
    bed.end();
}

/// How often a file was opened in a folder since its watch began.
fn opened(watch: &nix::sys::inotify::Inotify, name: &str) -> usize {
    let mut count = 0;
    while let Ok(events) = watch.read_events() {
        let is_it = |event: &&nix::sys::inotify::InotifyEvent| {
            event.name.as_deref().is_some_and(|found| found == name)
        };
        count += events.iter().filter(is_it).count();
    }
    count
}

#[test]
fn an_order_for_many_reads_what_they_have_once() {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    let bed = Bed::running();
    let apps: Vec<App> = (0..8).map(|number| bed.app(&format!("shop{number}"))).collect();
    apps.iter().for_each(|app| bed.probe(app, ""));
    let begin = |folder: PathBuf| {
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).expect("inotify");
        watch.add_watch(&folder, AddWatchFlags::IN_OPEN).expect("a folder");
        watch
    };
    let profiles = begin(bed.root().join("etc/swrun/profiles"));
    bed.ok(&["start"]);
    let count = opened(&profiles, "shop0.toml");
    assert!((1..apps.len()).contains(&count), "{count} times for {} environments", apps.len());
    // Nor is each spec read for each other's ports.
    let specs = begin(bed.root().join("var/lib/swrun/env"));
    bed.ok(&["restart"]);
    let count = opened(&specs, "shop0.spec");
    assert!((1..apps.len()).contains(&count), "{count} times for {} environments", apps.len());
    for app in &apps {
        assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    }
    // An edit counts at the next order, for many as for one.
    for app in &apps[..2] {
        let path = bed.profile_path(app);
        let text = fs::read_to_string(&path).expect("just written");
        fs::write(&path, format!("# edited\n{text}")).expect("ours");
    }
    let text = fs::read_to_string(bed.profile_path(&apps[1])).expect("just written");
    let clash = text.replace(&apps[1].port.to_string(), &apps[0].port.to_string());
    fs::write(bed.profile_path(&apps[1]), clash).expect("ours");
    let output = bed.swrun(&["restart"]);
    let (_, told) = texts(&output);
    assert!(!output.status.success() && told.contains(&apps[0].port.to_string()), "{told}");
    assert_eq!(get(apps[1].port, "/").expect("it goes on as it was"), "ok");
    bed.end();
}
