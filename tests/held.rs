//! Ports that are held: nobody is refused while the app is down, and nobody else has its port. Each test in
//! a network namespace of its own, with unmodified servers.

mod bed;
#[path = "common/load.rs"]
mod load;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use bed::{App, Bed, get, kill, pid};
use load::{Counts, Load};
use serde_json::{Value, json};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/servers");
const CLIENTS: usize = 4;

/// Writes the profile of a server of the fixtures; `more` are further lines of TOML, tables last.
fn server(bed: &Bed, name: &str, file: &str, more: &str) -> App {
    let app = bed.app(name);
    let path = app.home.join(file);
    fs::copy(Path::new(FIXTURES).join(file), &path).expect("a fixture");
    let program = path.with_extension("");
    let path = path.to_str().expect("a plain path").to_owned();
    let command = match path.rsplit_once('.').expect("an extension").1 {
        "js" => vec!["node".to_owned(), path],
        "py" => vec!["/usr/bin/python3".to_owned(), path],
        _ => {
            let built = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(&path).status();
            assert!(built.is_ok_and(|status| status.success()), "cc: install gcc");
            vec![program.to_str().expect("a plain path").to_owned()]
        }
    };
    chown(&app.home, Some(app.uid), Some(app.uid)).expect("root may");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let head = format!("ports = [{}]\n{more}\n[env]\nPORT = \"{}\"\n", app.port, app.port);
    bed.profile(&app, &command, &head);
    app
}

fn address(app: &App) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], app.port))
}

#[track_caller]
fn is_held(status: &Value) {
    assert_eq!(status["ports"][0]["state"], "held", "{status:#}");
}

/// At a death what the dead process had in its hands is lost, at most a request of each client.
#[track_caller]
fn lost_only_what_was_in_hand(counts: Counts, deaths: u64) {
    println!("{counts:?}");
    let Counts { good, refused, broken, timed_out } = counts;
    assert_eq!((refused.into_inner(), timed_out.into_inner()), (0, 0));
    let broken = broken.into_inner();
    assert!(broken <= deaths * CLIENTS as u64, "{broken}");
    assert!(good.into_inner() > 0);
}

const SERVERS: [&str; 3] = ["server.js", "server.py", "server.c"];
const QUICK: &str = "[restart]\nfirst-delay = \"300ms\"";

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
    let profile = bed.profile_path(&app);
    let text = fs::read_to_string(&profile).expect("just written");
    fs::write(&profile, text + "DRAIN = \"1\"\n").expect("our own file");
    bed.start(&app);
    let load = Load::begin(address(&app), CLIENTS);
    for _ in 0..5 {
        load.wait_for(30);
        bed.ok(&["restart", "shop"]);
    }
    load.wait_for(30);
    let counts = load.end();
    println!("{counts:?}");
    let Counts { refused, broken, timed_out, .. } = counts;
    assert_eq!([refused, broken, timed_out].map(|count| count.into_inner()), [0, 0, 0]);
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
