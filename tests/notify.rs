//! Somebody is told of what happens: by a command of an operator's, as a user that owns nothing, for a limited time,
//! while the environment goes on.

mod bed;
#[path = "common/install.rs"]
mod install;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bed::{App, Bed, get, pid};
use install::install;
use serde_json::Value;

/// A folder that the command, which is nobody's, can write to.
fn told_to(bed: &Bed) -> PathBuf {
    let folder = bed.root().join("told");
    fs::create_dir(&folder).expect("ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("ours");
    folder
}

/// A command that appends what it is told, and who it is.
fn script(folder: &Path, more: &str) -> String {
    let script = folder.join("tell");
    let text = format!("#!/bin/sh\n{{ cat; id -u; }} >> {0}/all\n{more}\n", folder.display());
    fs::write(&script, text).expect("ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    script.to_string_lossy().into_owned()
}

fn told(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("all")).unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect()
}

fn rules(command: &str, events: &str, within: &str) -> String {
    format!(
        "[notify]\ncommand = [\"{command}\", \"a b\"]\nevents = [{events}]\nwithin = \"{within}\"\n"
    )
}

fn start(bed: &Bed, more: &str) -> App {
    let app = bed.app("shop");
    bed.probe(&app, more);
    bed.start(&app);
    app
}

#[test]
fn what_was_chosen_is_told_once_as_nobody() {
    let bed = Bed::running();
    let folder = told_to(&bed);
    let command = script(
        &folder,
        "echo \"$# $1\" >> \"$(dirname $0)/arguments\"; grep NoNewPrivs /proc/self/status >> \"$(dirname $0)/arguments\"",
    );
    let app = start(&bed, &rules(&command, "\"crash\", \"memory-ceiling\"", "10s"));
    let first = pid(&bed.status(&app));
    bed::kill(first);
    kernel::until("somebody was told", || !told(&folder).is_empty());
    let all = told(&folder);
    assert_eq!(all.len(), 1, "the start is not told: {all:#?}");
    let one = &all[0];
    assert_eq!(one["environment"], "shop");
    assert_eq!(one["notice"], "crash");
    assert_eq!(one["event"], "ended");
    assert_eq!(one["signal"], "SIGKILL");
    assert_eq!(one["times"], 1);
    assert!(
        one["text"].as_str().is_some_and(|text| text.starts_with("shop: instance 1: ended: crash")),
        "{one:#}"
    );
    let has = |name: &str, line: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.lines().any(|other| other == line)
    };
    kernel::until("it was nobody", || has("all", "65534"));
    kernel::until("it had its arguments", || has("arguments", "1 a b"));
    kernel::until("it can become nobody else", || has("arguments", "NoNewPrivs:\t1"));

    // The same again waits for its minute; something else does not.
    bed.until(&app, "online", |now| now["state"] == "online" && pid(now) != first);
    bed::kill(pid(&bed.status(&app)));
    bed.until(&app, "online", |now| now["restarts"] == 2 && now["state"] == "online");
    let _ = get(app.port, "/leak?mb=900");
    kernel::until("the breach was told", || {
        told(&folder).iter().any(|one| one["notice"] == "memory-ceiling")
    });
    assert_eq!(told(&folder).iter().filter(|one| one["notice"] == "crash").count(), 1);
    bed.end();
}

#[test]
fn one_that_hangs_or_fails_holds_up_nothing_and_leaves_nothing() {
    let bed = Bed::running();
    let folder = told_to(&bed);
    // It hangs, and so does what it starts in a session of its own.
    let command = script(&folder, "setsid sleep 987 & exec sleep 986");
    let app = start(&bed, &rules(&command, "\"crash\"", "1s"));
    let first = pid(&bed.status(&app));
    bed::kill(first);
    let begun = Instant::now();
    bed.until(&app, "it is back meanwhile", |now| now["state"] == "online" && pid(now) != first);
    assert!(begun.elapsed() < bed::patience());
    let warned = |what: &str| {
        let events = bed.ok(&["events", "shop"]);
        events.lines().filter(|line| line.contains(what)).count()
    };
    kernel::until("it was killed, and that is said", || warned("did not end within 1 s") == 1);
    let left = || {
        bed::processes_of(bed.root()).into_iter().filter(|line| line.contains("sleep 98")).count()
    };
    kernel::until("nothing is left of it", || left() == 0);

    // One that is not there.
    let missing = rules("/nowhere/at/all", "\"restarted\"", "1s");
    bed.probe(&app, &missing);
    bed.ok(&["restart", "shop"]);
    bed.ok(&["restart", "shop"]);
    kernel::until("that is said, too", || warned("nobody was told by [notify]") >= 2);
    bed.end();
}

#[test]
fn what_is_not_told_yet_is_told_after_an_upgrade_and_before_the_end() {
    let mut bed = Bed::new();
    let program = bed.root().join("swrun");
    install(&program);
    bed.daemon_by(std::process::Command::new(&program));
    let folder = told_to(&bed);
    let command = script(&folder, "");
    let app = start(&bed, &rules(&command, "\"crash\", \"stopped\"", "10s"));
    let first = pid(&bed.status(&app));
    bed::kill(first);
    kernel::until("it is told", || told(&folder).len() == 1);
    bed.until(&app, "online", |now| now["state"] == "online" && pid(now) != first);
    bed::kill(pid(&bed.status(&app)));
    bed.until(&app, "online", |now| now["restarts"] == 2 && now["state"] == "online");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(told(&folder).len(), 1, "within its minute");
    install(&program);
    bed.ok(&["upgrade"]);
    // The new program knows of no minute.
    kernel::until("it is told by the new program", || told(&folder).len() == 2);
    bed.ok(&["stop", "shop"]);
    let last = told(&folder).pop().expect("told");
    assert_eq!(last["notice"], "stopped", "{last:#}");
    bed.end();
}

#[test]
fn what_is_wrong_with_it_is_said_by_check() {
    let bed = Bed::new();
    let app = bed.app("shop");
    for (rules, wanted) in [
        ("[notify]\nuser = \"nobody\"\n", "\"command\" in [notify] is missing"),
        ("[notify]\ncommand = [\"tell\"]\n", "does not begin with a path"),
        ("[notify]\ncommand = [\"/bin/true\"]\nuser = \"root\"\n", "\"user\" in [notify] is root"),
        ("[notify]\ncommand = [\"/bin/true\"]\nuser = \"nobody-here\"\n", "there is no user"),
        ("[notify]\ncommand = [\"/bin/true\"]\nevents = [\"death\"]\n", "\"death\" is not known"),
        ("[notify]\ncommand = [\"/bin/true\"]\nwithin = \"1h\"\n", "more than 5m"),
    ] {
        bed.probe(&app, rules);
        let output = bed.swrun(&["check"]);
        let said = bed::texts(&output).0;
        assert_eq!(output.status.code(), Some(1), "{rules}");
        assert!(said.contains(wanted), "{rules}: {said}");
    }
    bed.probe(&app, "[notify]\ncommand = [\"/bin/true\"]\n");
    bed.ok(&["check"]);
    bed.end();
}
