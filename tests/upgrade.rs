//! Another version of swrun takes over while apps serve under load: no request fails, no line is lost, what was
//! counted goes on; one that cannot take over leaves the old one in charge.

mod bed;
#[path = "common/install.rs"]
mod install;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/load.rs"]
mod load;
#[path = "common/loaded.rs"]
mod loaded;

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;

use bed::{App, Bed, get, is_guest, pid};
use install::install;
use load::Load;
use loaded::{CLIENTS, address, is_held, nothing_was_lost, server};
use serde_json::Value;
use swrun::sys::channel;
use swrun::wire::keep::{Call, Message, Reply, Request};

/// A bed whose runner is a copy of the program, where another can be put in its place.
fn bed() -> (Bed, PathBuf) {
    let mut bed = Bed::new();
    let program = bed.root().join("swrun");
    install(&program);
    bed.daemon_by(Command::new(&program));
    (bed, program)
}

/// The program that the monitor of an environment runs.
fn program_of(bed: &Bed, app: &App) -> (i32, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let pid = kernel::monitor(bed, app);
    (pid, fs::metadata(format!("/proc/{pid}/exe")).expect("it lives").ino())
}

#[test]
fn an_upgrade_under_load_loses_nothing_and_everything_goes_on() {
    let (bed, program) = bed();
    let shop = server(&bed, "shop", "server.js", "");
    is_held(&bed.start(&shop));
    // A restart that is counted, and is to be remembered.
    let first = pid(&bed.status(&shop));
    bed::kill(first);
    let is_next = |now: &Value| now["state"] == "online" && pid(now) != first;
    let before = bed.until(&shop, "the next instance", is_next);
    let load = Load::begin(address(&shop), CLIENTS);
    for round in 0..3 {
        load.wait_for(50);
        let (monitor, old) = program_of(&bed, &shop);
        install(&program);
        let said = bed.ok(&["upgrade"]);
        assert!(said.contains("shop: is upgraded; the app went on"), "{said}");
        let (same, new) = program_of(&bed, &shop);
        assert_eq!(same, monitor, "it is the same process");
        assert_ne!(new, old, "of another program");
        let after = bed.status(&shop);
        for field in ["pid", "state", "restarts", "last_exit", "monitor_pid", "unstable"] {
            assert_eq!(after[field], before[field], "{round} {field}: {after:#}");
        }
        is_held(&after);
    }
    load.wait_for(50);
    nothing_was_lost(load.end());
    assert_eq!(kernel::events(&bed, &shop, "upgraded").len(), 3);
    assert_eq!(kernel::events(&bed, &shop, "ended").len(), 1);

    // And it does all that a monitor does: a crash, a reload, a breach of nothing, a stop.
    let load = Load::begin(address(&shop), CLIENTS);
    load.wait_for(20);
    bed.ok(&["reload", "shop"]);
    load.wait_for(20);
    nothing_was_lost(load.end());
    let running = pid(&bed.status(&shop));
    bed::kill(running);
    let is_next = |now: &Value| now["state"] == "online" && pid(now) != running;
    let last = bed.until(&shop, "the next instance", is_next);
    assert_eq!(last["restarts"], Value::from(before["restarts"].as_u64().unwrap_or(0) + 2));
    bed.ok(&["scale", "shop", "3"]);
    bed.ok(&["upgrade", "shop"]);
    assert_eq!(bed.status(&shop)["instances"].as_array().map(Vec::len), Some(3));
    bed.ok(&["stop", "shop"]);
    assert!(get(shop.port, "/").is_err());
    bed.end();
}

#[test]
fn a_flood_of_lines_is_whole_over_an_upgrade() {
    let (bed, program) = bed();
    let app = bed.app("shop");
    let lines = if is_guest() { 20_000 } else { 400_000 };
    let script = format!(
        "until test -e go; do sleep 0.01; done; seq -f %0100.0f 1 {lines}; printf half; exec sleep 900"
    );
    let rules = "[logs]\nrotate-size = \"4M\"\n[restart]\npolicy = \"never\"\n";
    bed.profile(&app, &["/bin/sh", "-c", &script], rules);
    let before = bed.start(&app);
    fs::write(app.home.join("go"), "").expect("ours");
    for _ in 0..4 {
        install(&program);
        bed.ok(&["upgrade", "shop"]);
    }
    let read = || {
        let words = ["logs", "shop", "--out", "--raw", "--nostream", "-n", "100000000"];
        bed.swrun(&words).stdout
    };
    let length = 101 * lines;
    kernel::until("the last line is there", || read().len() == length);
    // What is half a line now is a whole one in the end.
    install(&program);
    bed.ok(&["upgrade", "shop"]);
    assert_eq!(pid(&bed.status(&app)), pid(&before));
    bed.ok(&["stop", "shop"]);
    let mut wanted: Vec<u8> =
        (1..=lines).flat_map(|number| format!("{number:0100}\n").into_bytes()).collect();
    wanted.extend_from_slice(b"half");
    assert!(read() == wanted, "{} of {} bytes", read().len(), wanted.len());
    bed.end();
}

#[test]
fn who_asks_while_the_runner_goes_over_is_answered() {
    let (bed, program) = bed();
    let app = bed.app("shop");
    bed.profile(&app, &["/bin/sleep", "900"], "");
    bed.start(&app);
    let asked = std::thread::scope(|scope| {
        let upgrades = scope.spawn(|| {
            for _ in 0..10 {
                install(&program);
                bed.ok(&["upgrade"]);
            }
        });
        let mut asked = 0;
        while !upgrades.is_finished() {
            bed.ok(&["status", "--json"]);
            asked += 1;
        }
        asked
    });
    assert!(asked > 20, "{asked}");
    bed.end();
}

#[test]
fn what_cannot_take_over_leaves_the_old_one_in_charge() {
    let (bed, program) = bed();
    let app = server(&bed, "shop", "server.js", "");
    bed.start(&app);
    let (monitor, old) = program_of(&bed, &app);
    let daemon = bed.daemon_pid();

    // Not root's: the runner does not go over to it.
    install(&program);
    std::os::unix::fs::chown(&program, Some(app.uid), None).expect("root may");
    let said = bed.fails(1, &["upgrade"]);
    assert!(said.contains("can be changed by uid"), "{said}");
    std::os::unix::fs::chown(&program, Some(0), None).expect("root may");

    // One that is no monitor, by the monitor's own socket; and no program at all.
    let load = Load::begin(address(&app), CLIENTS);
    load.wait_for(20);
    let socket = channel::connect(&bed.root().join("run/swrun/env/shop/sock")).expect("it listens");
    let other = File::open("/bin/false").expect("every host has it");
    for (with, why) in [
        (vec![other.as_fd()], "the new program cannot take over"),
        (Vec::new(), "no program was handed over"),
    ] {
        let call = Call { id: 7, request: Request::Upgrade };
        let bytes = serde_json::to_vec(&call).expect("JSON");
        channel::send(socket.as_fd(), &bytes, &with).expect("it reads");
        let refused = || loop {
            let Ok(Some(message)) = channel::receive(socket.as_fd()) else { return false };
            let Ok(message) = serde_json::from_slice(&message.bytes) else { continue };
            if let Message::Reply { id: 7, reply: Reply::Failed(text) } = message {
                return text.contains(why);
            }
        };
        kernel::until(why, refused);
    }
    load.wait_for(20);
    nothing_was_lost(load.end());
    let warnings = kernel::events(&bed, &app, "warning");
    assert!(warnings.iter().any(|event| event["text"].to_string().contains("not upgraded")));
    assert_eq!(program_of(&bed, &app), (monitor, old));
    assert_eq!(bed.daemon_pid(), daemon);
    bed.end();
}

#[test]
fn one_that_waits_or_has_given_up_is_upgraded_too() {
    let (bed, program) = bed();
    let (waits, gave_up) = (bed.app("waits"), bed.app("gave-up"));
    let pauses = "[restart]\nfirst-delay = \"60s\"\nmax-delay = \"60s\"\n";
    bed.profile(&waits, &["/bin/sh", "-c", "exit 3"], pauses);
    let gives_up = "[restart]\nfirst-delay = \"1ms\"\nmax-delay = \"1ms\"\ngive-up-after = 2\n";
    bed.profile(&gave_up, &["/bin/sh", "-c", "exit 3"], gives_up);
    bed.swrun(&["start", "--no-wait"]);
    bed.until(&waits, "it waits", |s| s["state"] == "backoff");
    let before = bed.until(&gave_up, "it gave up", |s| s["state"] == "errored");
    install(&program);
    bed.ok(&["upgrade"]);
    let after = bed.status(&waits);
    assert_eq!((&after["state"], &after["unstable"]), (&"backoff".into(), &1.into()));
    assert!(after["next_try_ms"].as_u64().is_some_and(|millis| millis > 30_000), "{after:#}");
    let after = bed.status(&gave_up);
    for field in ["state", "restarts", "reason", "last_exit"] {
        assert_eq!(after[field], before[field], "{after:#}");
    }
    // An order counts as ever.
    fs::write(bed.profile_path(&waits), {
        let text = fs::read_to_string(bed.profile_path(&waits)).expect("ours");
        text.replace("exit 3", "exec sleep 900")
    })
    .expect("ours");
    bed.ok(&["start", "waits"]);
    bed.end();
}
