//! Servers under load, and what may be lost of it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bed::{App, Bed};
use crate::load::Counts;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/servers");
pub const CLIENTS: usize = 4;

/// Writes the profile of a server of the fixtures; `more` are further lines of TOML, tables last.
pub fn server(bed: &Bed, name: &str, file: &str, more: &str) -> App {
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

pub fn address(app: &App) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], app.port))
}

#[track_caller]
pub fn is_held(status: &Value) {
    assert_eq!(status["ports"][0]["state"], "held", "{status:#}");
}

/// At a death what the dead process had in its hands is lost, at most a request of each client.
#[track_caller]
pub fn lost_only_what_was_in_hand(counts: Counts, deaths: u64) {
    println!("{counts:?}");
    let Counts { good, refused, broken, timed_out } = counts;
    assert_eq!((refused.into_inner(), timed_out.into_inner()), (0, 0));
    let broken = broken.into_inner();
    assert!(broken <= deaths * CLIENTS as u64, "{broken}");
    assert!(good.into_inner() > 0);
}

/// Adds lines at the end of the profile, where its variables are.
pub fn add(bed: &Bed, app: &App, lines: &str) {
    let profile = bed.profile_path(app);
    let text = fs::read_to_string(&profile).expect("just written");
    fs::write(&profile, text + lines).expect("our own file");
}

pub const DRAINS: &str = "DRAIN = \"1\"\n";

#[track_caller]
pub fn nothing_was_lost(counts: Counts) {
    println!("{counts:?}");
    let Counts { good, refused, broken, timed_out } = counts;
    assert_eq!([refused, broken, timed_out].map(|count| count.into_inner()), [0, 0, 0]);
    assert!(good.into_inner() > 0);
}
