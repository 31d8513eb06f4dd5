//! Ports that are held: nobody is refused while the app is down, and nobody else has its port. Each test in
//! a network namespace of its own, with unmodified servers.

mod bed;
#[path = "common/load.rs"]
mod load;
#[path = "common/loaded.rs"]
mod loaded;

use std::fs;
use std::process::Command;

use bed::{Bed, get, kill, pid};
use load::Load;
use loaded::{
    CLIENTS, DRAINS, add, address, is_held, lost_only_what_was_in_hand, nothing_was_lost, server,
};
use serde_json::Value;

const SERVERS: [&str; 3] = ["server.js", "server.py", "server.c"];

#[test]
fn a_killed_app_refuses_nobody() {
    let bed = Bed::running();
    for file in SERVERS {
        let name = file.replace('.', "-");
        let app = server(&bed, &name, file, "");
        let mut before = bed.start(&app);
        is_held(&before);
        let load = Load::begin(address(&app), CLIENTS);
        for _ in 0..3 {
            load.wait_for(50);
            kill(pid(&before));
            let is_new =
                |status: &Value| status["state"] == "online" && status["pid"] != before["pid"];
            before = bed.until(&app, "the next instance", is_new);
            is_held(&before);
        }
        load.wait_for(50);
        lost_only_what_was_in_hand(load.end(), 3);
        bed.ok(&["stop", &name]);
    }
    bed.end();
}

#[test]
fn a_restart_loses_nothing_of_an_app_that_drains() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    add(&bed, &app, DRAINS);
    bed.start(&app);
    let load = Load::begin(address(&app), CLIENTS);
    for _ in 0..5 {
        load.wait_for(30);
        bed.ok(&["restart", "shop"]);
    }
    load.wait_for(30);
    nothing_was_lost(load.end());
    bed.end();
}

#[test]
fn connections_wait_while_there_is_no_app_and_not_once_it_is_stopped() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    let profile = bed.profile_path(&app);
    let text = fs::read_to_string(&profile).expect("just written");
    fs::write(&profile, format!("{text}\n[restart]\nfirst-delay = \"2s\"\n"))
        .expect("our own file");
    let before = bed.start(&app);
    kill(pid(&before));
    let down = bed.until(&app, "it is down", |status| status["state"] == "backoff");
    is_held(&down);
    // Made while nobody is there, answered by the next one.
    let answer = get(app.port, "/").expect("it waits");
    assert!(!answer.is_empty());
    let after = bed.until(&app, "up", |status| status["state"] == "online");
    assert_ne!(after["pid"], before["pid"]);
    bed.ok(&["stop", "shop"]);
    let refused = get(app.port, "/").expect_err("nobody is to answer");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(bed.status(&app)["ports"][0]["state"], "reserved");
    bed.end();
}

#[test]
fn a_reload_loses_nothing_of_an_app_that_drains() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    add(&bed, &app, DRAINS);
    let mut before = bed.start(&app);
    let load = Load::begin(address(&app), CLIENTS);
    for _ in 0..5 {
        load.wait_for(30);
        let said = bed.ok(&["reload", "shop"]);
        let after = bed.status(&app);
        assert!(said.contains("is reloaded"), "{said}");
        assert_ne!(after["pid"], before["pid"]);
        assert_eq!(after["instances"].as_array().expect("a list").len(), 1, "{after:#}");
        is_held(&after);
        before = after;
    }
    load.wait_for(30);
    nothing_was_lost(load.end());
    bed.end();
}

#[test]
fn a_reload_of_an_app_that_just_dies_loses_only_what_is_in_its_hands() {
    let bed = Bed::running();
    for file in SERVERS {
        let name = file.replace('.', "-");
        let app = server(&bed, &name, file, "");
        bed.start(&app);
        let load = Load::begin(address(&app), CLIENTS);
        for _ in 0..3 {
            load.wait_for(30);
            bed.ok(&["reload", &name]);
        }
        load.wait_for(30);
        lost_only_what_was_in_hand(load.end(), 3);
        bed.ok(&["stop", &name]);
    }
    bed.end();
}

#[test]
fn a_reload_that_cannot_work_changes_nothing() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    let before = bed.start(&app);
    let script = app.home.join("server.js");
    let good = fs::read_to_string(&script).expect("just written");
    let load = Load::begin(address(&app), CLIENTS);
    // It dies before it listens; what it said is told.
    fs::write(&script, "console.error('no such module'); process.exit(3);").expect("our own file");
    let said = bed.fails(1, &["reload", "shop"]);
    assert!(said.contains("the old one goes on: it ended before it was ready"), "{said}");
    assert!(said.contains("no such module"), "{said}");
    load.wait_for(30);
    let after = bed.status(&app);
    assert_eq!((&after["pid"], &after["state"]), (&before["pid"], &"online".into()));
    assert_eq!(after["unstable"], 0);
    // A spec that cannot be started is refused before anything is begun.
    fs::remove_file(&script).expect("our own file");
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("readable");
    fs::write(bed.profile_path(&app), profile.replace("[\"node\"", "[\"nodeless\""))
        .expect("our own file");
    let said = bed.fails(1, &["reload", "shop"]);
    assert!(said.contains("was not reloaded, and goes on as it was"), "{said}");
    fs::write(bed.profile_path(&app), profile).expect("our own file");
    fs::write(&script, good).expect("our own file");
    load.wait_for(30);
    bed.ok(&["reload", "shop"]);
    load.wait_for(30);
    lost_only_what_was_in_hand(load.end(), 1);
    bed.end();
}

#[test]
fn scaling_up_and_down_loses_nothing() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    add(&bed, &app, DRAINS);
    bed.start(&app);
    let load = Load::begin(address(&app), CLIENTS);
    let count = |status: &Value| status["instances"].as_array().expect("a list").len();
    for wanted in [3, 1, 2] {
        load.wait_for(30);
        bed.ok(&["scale", "shop", &wanted.to_string()]);
        let status = bed.status(&app);
        assert_eq!((count(&status), &status["state"]), (wanted, &"online".into()), "{status:#}");
        assert_eq!(
            status["memory"]["max"],
            status["instances"][0]["memory"]["max"].as_u64().expect("known") * wanted as u64
        );
    }
    // All of them serve.
    let instances: std::collections::BTreeSet<String> =
        (0..200).map(|_| get(app.port, "/").expect("it serves")).collect();
    assert_eq!(instances.len(), 2, "{instances:?}");
    // A reload replaces them all; a restart keeps their number, and so does a new runner.
    let before = bed.status(&app);
    bed.ok(&["reload", "shop"]);
    let after = bed.status(&app);
    let pids = |status: &Value| -> Vec<Value> {
        status["instances"].as_array().expect("a list").iter().map(|i| i["pid"].clone()).collect()
    };
    assert!(pids(&after).iter().all(|pid| !pids(&before).contains(pid)), "{before:#}\n{after:#}");
    load.wait_for(30);
    nothing_was_lost(load.end());
    bed.ok(&["stop", "shop"]);
    bed.ok(&["start", "shop"]);
    assert_eq!(count(&bed.status(&app)), 2);
    let said = bed.fails(2, &["scale", "shop", "0"]);
    assert!(said.contains("1..=64"), "{said}");
    bed.end();
}

#[test]
fn a_killed_monitor_loses_no_connection_that_waits() {
    let mut bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    let mut before = bed.start(&app);
    for is_of_new_runner in [false, true] {
        if is_of_new_runner {
            // The next runner is given copies too.
            bed.kill_daemon();
            bed.daemon();
            before = bed.until(&app, "seen again", |status| status["monitor_pid"].is_u64());
        }
        let load = Load::begin(address(&app), CLIENTS);
        for _ in 0..3 {
            load.wait_for(30);
            let monitor = before["monitor_pid"].as_i64().expect("known");
            kill(i32::try_from(monitor).expect("a pid"));
            before = bed.until(&app, "back", |status| {
                status["state"] == "online" && status["monitor_pid"] != before["monitor_pid"]
            });
            is_held(&before);
        }
        load.wait_for(30);
        lost_only_what_was_in_hand(load.end(), 3);
    }
    let events = bed.events(&app);
    let adopted = events.iter().filter(|event| event["event"] == "adopted").count();
    assert_eq!(adopted, 6, "{events:#?}");
    bed.end();
}

#[test]
fn with_the_holder_dead_too_it_starts_afresh_and_says_so() {
    let mut bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    let before = bed.start(&app);
    bed.kill_daemon();
    kill(i32::try_from(before["monitor_pid"].as_i64().expect("known")).expect("a pid"));
    bed.daemon();
    let after = bed.until(&app, "back", |status| status["state"] == "online");
    is_held(&after);
    let events = bed.events(&app);
    let warned = |event: &&Value| {
        event["event"] == "warning"
            && event["text"]
                .as_str()
                .is_some_and(|text| text.contains("sockets that were held are lost"))
    };
    assert_eq!(events.iter().filter(warned).count(), 1, "{events:#?}");
    assert!(get(app.port, "/").is_ok());
    bed.end();
}

/// An answer of the old instance does not count, and the new one gets no other request before it is well.
#[test]
fn a_reload_waits_until_the_new_one_is_well() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    let health = format!("[health]\nhttp = \"http://127.0.0.1:{}/healthz\"\n", app.port);
    add(&bed, &app, &format!("DRAIN = \"1\"\n{health}"));
    let before = bed.start(&app);
    // The next one listens at once, is ill for a second, and tells who asked it meanwhile.
    let ill = r#"
const http = require('http');
const begun = Date.now(), asked = [];
const server = http.createServer((request, response) => {
  if (request.url === '/asked') return response.end(JSON.stringify(asked));
  if (Date.now() - begun < 1000) {
    asked.push(request.url);
    response.statusCode = 503;
  }
  response.end(process.env.SWRUN_INSTANCE);
});
server.listen(Number(process.env.PORT));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
"#;
    fs::write(app.home.join("server.js"), ill).expect("our own file");
    let load = Load::begin(address(&app), CLIENTS);
    load.wait_for(30);
    bed.ok(&["reload", "shop"]);
    load.wait_for(30);
    nothing_was_lost(load.end());
    assert_ne!(bed.status(&app)["pid"], before["pid"]);
    let asked: Vec<String> =
        serde_json::from_str(&get(app.port, "/asked").expect("it serves")).expect("JSON");
    assert!(asked.len() > 1 && asked.iter().all(|path| path == "/healthz"), "{asked:?}");
    bed.end();
}

#[test]
fn an_instance_that_rests_does_not_deafen_the_others() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "instances = 2");
    add(&bed, &app, "[restart]\npolicy = \"never\"\n");
    let status = bed.start(&app);
    let first = status["instances"][0]["pid"].as_i64().expect("a pid");
    kill(i32::try_from(first).expect("a pid"));
    bed.until(&app, "one is left", |status| {
        status["instances"].as_array().is_some_and(|all| all.len() == 1)
    });
    for _ in 0..20 {
        assert_eq!(get(app.port, "/").expect("the other serves"), "2");
    }
    bed.end();
}

/// What could not be reloaded is not what the next crash starts.
#[test]
fn after_a_failed_reload_the_old_profile_counts() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    let before = bed.start(&app);
    let profile = fs::read_to_string(bed.profile_path(&app)).expect("readable");
    // Another port, on which the new one is never up, since it dies.
    let other = app.port + 1;
    let bad = profile
        .replace(&format!("ports = [{}]", app.port), &format!("ports = [{other}]"))
        .replace("\"node\",", "\"node\", \"--no-such-option\",");
    assert_ne!(bad, profile);
    fs::write(bed.profile_path(&app), bad).expect("our own file");
    bed.fails(1, &["reload", "shop"]);
    assert_eq!(bed.status(&app)["ports"][0]["port"], app.port);
    kill(pid(&before));
    let after = bed.until(&app, "the next instance", |status| {
        status["state"] == "online" && status["pid"] != before["pid"]
    });
    is_held(&after);
    assert_eq!(get(app.port, "/").map(drop).map_err(|e| e.kind()), Ok(()));
    // Also when the monitor has to begin again.
    kill(i32::try_from(after["monitor_pid"].as_i64().expect("known")).expect("a pid"));
    let after = bed.until(&app, "back", |status| {
        status["state"] == "online" && status["monitor_pid"] != after["monitor_pid"]
    });
    is_held(&after);
    bed.end();
}

/// Where ports are not guarded an app binds as everybody does, and is told of as such.
#[test]
fn without_a_wall_it_falls_back_to_plain_binding_and_says_so() {
    has_no_wall("exec \"$program\" \"$@\" --reserve-ports none", "turned off");
}

/// There paths of cgroups begin elsewhere than where the kernel counts from: it would be a stranger to its own ports.
#[test]
fn in_a_cgroup_namespace_ports_are_not_guarded() {
    has_no_wall("exec unshare --cgroup \"$program\" \"$@\"", "cgroup namespace");
}

#[track_caller]
fn has_no_wall(script: &str, why: &str) {
    let mut bed = Bed::new();
    let mut runner = Command::new("/bin/sh");
    runner.args(["-c", &format!("program=$1; shift; {script}"), "sh"]);
    runner.arg(bed::swrun());
    bed.daemon_by(runner);
    let app = server(&bed, "shop", "server.js", "");
    let before = bed.start(&app);
    assert_eq!(before["ports"][0]["state"], "listening", "{before:#}");
    let document: Value = serde_json::from_str(&bed.ok(&["status", "--json"])).expect("JSON");
    let degraded = document["runner"]["degraded"].to_string();
    assert!(degraded.contains("ports are not guarded"), "{degraded}");
    assert!(degraded.contains(why), "{degraded}");
    kill(pid(&before));
    bed.until(&app, "back", |now| now["state"] == "online" && now["pid"] != before["pid"]);
    assert!(get(app.port, "/").is_ok());
    let said = bed.fails(1, &["reload", "shop"]);
    assert!(said.contains("cannot let two instances share a port"), "{said}");
    assert!(bed.ok(&["show", "shop"]).contains("ports are not guarded"));
    bed.end();
}
