//! The load goes on while all sorts of things happen to an environment: Express as users have it, clients
//! that keep their connections, a breach of the ceiling, a new runner.
//!
//! `SWRUN_EXPRESS` names the folder with its `node_modules` (`tests/fixtures/express/install FOLDER`).

mod bed;
#[path = "common/load.rs"]
mod load;
#[path = "common/loaded.rs"]
mod loaded;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bed::{App, Bed, get, kill, pid};
use load::Load;
use loaded::{CLIENTS, address, is_held, lost_only_what_was_in_hand, nothing_was_lost, server};
use serde_json::Value;

/// The backend of the fixtures, which lets its requests end on SIGTERM.
fn express(bed: &Bed, name: &str) -> App {
    let app = bed.app(name);
    let modules = std::env::var_os("SWRUN_EXPRESS").expect("SWRUN_EXPRESS is not set: see above");
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/express/index.js");
    let from = [PathBuf::from(fixture), PathBuf::from(modules).join("node_modules")];
    let copied = Command::new("cp").arg("-r").args(from).arg(&app.home).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let more = "[limits]\nmemory-max = \"256M\"\n[restart]\nfirst-delay = \"10ms\"";
    let head = format!("ports = [{0}]\n{more}\n[env]\nPORT = \"{0}\"", app.port);
    bed.profile(&app, &["node", "index.js"], &head);
    app
}

fn has_another_pid(bed: &Bed, app: &App, before: &Value) -> Value {
    let is = |now: &Value| now["state"] == "online" && now["pid"] != before["pid"];
    let after = bed.until(app, "the next instance", is);
    is_held(&after);
    after
}

#[test]
fn express_loses_nothing_by_a_reload_and_by_its_end_what_is_in_its_hands() {
    let bed = Bed::running();
    let app = express(&bed, "shop");
    is_held(&bed.start(&app));
    let load = Load::begin(address(&app), CLIENTS);
    for _ in 0..5 {
        load.wait_for(50);
        bed.ok(&["reload", "shop"]);
    }
    load.wait_for(50);
    nothing_was_lost(load.end());
    let load = Load::begin(address(&app), CLIENTS);
    // On SIGTERM it ends idle connections: also one that it has just accepted, whose request is on its way.
    bed.ok(&["restart", "shop"]);
    for _ in 0..5 {
        load.wait_for(20);
        let before = bed.status(&app);
        kill(pid(&before));
        has_another_pid(&bed, &app, &before);
    }
    load.wait_for(20);
    lost_only_what_was_in_hand(load.end(), 6);
    bed.end();
}

#[test]
fn a_breach_of_the_ceiling_refuses_nobody() {
    let bed = Bed::running();
    let app = express(&bed, "shop");
    bed.start(&app);
    let load = Load::begin(address(&app), CLIENTS);
    for _ in 0..3 {
        load.wait_for(50);
        let before = bed.status(&app);
        // Its own request ends with it.
        let _ = get(app.port, "/leak?mb=400");
        let after = has_another_pid(&bed, &app, &before);
        assert_eq!(after["last_exit"]["cause"], "memory-ceiling", "{after:#}");
    }
    load.wait_for(50);
    lost_only_what_was_in_hand(load.end(), 3);
    bed.end();
}

#[test]
fn clients_that_keep_their_connections_lose_nothing_by_a_reload() {
    let bed = Bed::running();
    let app = server(&bed, "shop", "keep.js", "");
    is_held(&bed.start(&app));
    let load = Load::begin_kept(address(&app), CLIENTS);
    for _ in 0..5 {
        load.wait_for(50);
        let before = bed.status(&app);
        bed.ok(&["reload", "shop"]);
        has_another_pid(&bed, &app, &before);
    }
    load.wait_for(50);
    nothing_was_lost(load.end());
    bed.end();
}

/// What an upgrade does to the runner: another program in its place, while the apps go on.
#[test]
fn a_new_runner_disturbs_nobody() {
    let mut bed = Bed::running();
    let app = server(&bed, "shop", "server.js", "");
    let before = bed.start(&app);
    let load = Load::begin(address(&app), CLIENTS);
    for round in 0..3 {
        load.wait_for(30);
        bed.kill_daemon();
        let program = bed.root().join(format!("swrun-{round}"));
        fs::copy(bed::swrun(), &program).expect("our own folder");
        load.wait_for(30);
        bed.daemon_by(Command::new(program));
        let after = bed.status(&app);
        assert_eq!((&after["pid"], &after["state"]), (&before["pid"], &"online".into()));
        is_held(&after);
    }
    load.wait_for(30);
    nothing_was_lost(load.end());
    bed.end();
}
