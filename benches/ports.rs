//! Requests that fail while an app is killed, restarted, reloaded, scaled; what the walls round its ports
//! cost. Needs `SWRUN_EXPRESS` (a folder made by `tests/fixtures/express/install`), and wrk for the last part.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::bed::{App, Bed, kill, pid};
use common::{Series, text};
use serde_json::Value;

/// Twenty milliseconds a request; `DRAIN`: it lets what it has in hand come to an end, as Node's own
/// documentation has it.
const APP: &str = r#"
const express = require('express');
const app = express();
let ends = false;
app.get('/', (request, response) => setTimeout(() => {
  if (ends) response.set('Connection', 'close');
  response.send('ok');
}, 20));
const server = app.listen(Number(process.env.PORT));
server.keepAliveTimeout = 60000;
if (process.env.DRAIN) process.on('SIGTERM', () => {
  ends = true;
  server.close(() => process.exit(0));
  setTimeout(() => server.closeIdleConnections(), 1000);
});
"#;

fn main() {
    let bed = Bed::running();
    println!(
        "| Express, 400 new connections a second | times | requests | in hand | refused | timed out |"
    );
    println!("|---|---|---|---|---|---|");
    let plain = express(&bed, "plain", "");
    disturb(&bed, &plain, "SIGKILL of the app", 20, |bed, app| {
        let before = bed.status(app);
        kill(pid(&before));
        bed.until(app, "back", |now| now["state"] == "online" && now["pid"] != before["pid"]);
    });
    let order = |verb: &'static str| move |bed: &Bed, app: &App| drop(bed.ok(&[verb, &app.name]));
    disturb(&bed, &plain, "reload, an app that just dies", 5, order("reload"));
    let drains = express(&bed, "drains", "DRAIN = \"1\"\n");
    disturb(&bed, &drains, "reload, an app that drains", 5, order("reload"));
    disturb(&bed, &drains, "restart, an app that drains", 5, order("restart"));
    disturb(&bed, &drains, "scale 1 to 3 to 1, an app that drains", 3, |bed, app| {
        bed.ok(&["scale", &app.name, "3"]);
        bed.ok(&["scale", &app.name, "1"]);
    });
    disturb(&bed, &plain, "kill -9 of the monitor", 5, |bed, app| {
        let before = bed.status(app);
        kill(i32::try_from(before["monitor_pid"].as_i64().expect("known")).expect("a pid"));
        let is_back =
            |now: &Value| now["state"] == "online" && now["monitor_pid"] != before["monitor_pid"];
        bed.until(app, "back", is_back);
    });
    loops(&bed);
    throughput(&bed, &plain);
    bed.end();
}

fn express(bed: &Bed, name: &str, variables: &str) -> App {
    let app = bed.app(name);
    let modules = std::env::var_os("SWRUN_EXPRESS").expect("SWRUN_EXPRESS is not set");
    let modules = PathBuf::from(modules).join("node_modules");
    let copied = Command::new("cp").args(["-a", text(&modules), text(&app.home)]).status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::write(app.home.join("index.js"), APP).expect("our own folder");
    // Twenty deaths in a row would let the pause grow.
    let restart = "[restart]\nmax-delay = \"100ms\"";
    let head = format!("ports = [{0}]\n{restart}\n[env]\nPORT = \"{0}\"\n{variables}", app.port);
    bed.profile(&app, &["node", "index.js"], &head);
    bed.start(&app);
    app
}

/// Sixteen clients with 25 connections a second each, while `what` is done so many times.
fn disturb(bed: &Bed, app: &App, title: &str, times: u32, what: impl Fn(&Bed, &App)) {
    const CLIENTS: u64 = 16;
    const EVERY: Duration = Duration::from_millis(40);
    let address = SocketAddr::from(([127, 0, 0, 1], app.port));
    let counts: Arc<[AtomicU64; 4]> = Arc::default();
    let is_over = Arc::<AtomicBool>::default();
    let client = |number: u64| {
        let (counts, is_over) = (Arc::clone(&counts), Arc::clone(&is_over));
        std::thread::spawn(move || {
            let mut next = Instant::now() + EVERY / CLIENTS as u32 * number as u32;
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                next = (next + EVERY).max(Instant::now());
                let at = match common::load::ask(address) {
                    Ok(()) => 0,
                    Err(std::io::ErrorKind::ConnectionRefused) => 2,
                    Err(std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock) => 3,
                    Err(_) => 1,
                };
                counts[at].fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    for _ in 0..times {
        std::thread::sleep(Duration::from_millis(500));
        what(bed, app);
    }
    std::thread::sleep(Duration::from_millis(500));
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client");
    }
    let [good, in_hand, refused, timed_out] =
        [0, 1, 2, 3].map(|at: usize| counts[at].load(Ordering::Relaxed));
    println!("| {title} | {times} | {good} | {in_hand} | {refused} | {timed_out} |");
}

/// The loops in the cage, and beside it under a filter of one rule and under none.
fn loops(bed: &Bed) {
    let program = bed.root().join("loops");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/common/loops.c");
    let built = Command::new("cc").args(["-static", "-O2", "-o", text(&program), source]).status();
    assert!(built.is_ok_and(|status| status.success()), "cc: install gcc and libc6-dev");
    let app = bed.app("loops");
    let own = app.home.join("loops");
    fs::copy(&program, &own).expect("our own folder");
    println!("\n| ns a call, median of 15 rounds | getpid | read | listen |\n|---|---|---|---|");
    let port = app.port.to_string();
    bed.profile(&app, &[text(&own), &port], &format!("ports = [{port}]"));
    for _ in 0..2 {
        for (title, words) in [("no filter", &["0"][..]), ("a filter of one rule", &["0", "x"])] {
            let mut child = Command::new(&program)
                .args(words)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("just built");
            let mut line = String::new();
            let output = child.stdout.take().expect("a pipe");
            std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)
                .expect("readable");
            child.kill().expect("ours");
            child.wait().expect("its end");
            println!("| {title} | {} |", line.trim().replace(' ', " | "));
        }
        let before = bed.log(&app, "out.log").len();
        bed.start(&app);
        common::until("the loops", || bed.log(&app, "out.log").len() > before);
        let line = bed.log(&app, "out.log").pop().expect("a line");
        println!("| in the cage | {} |", line.trim().replace(' ', " | "));
        bed.ok(&["stop", "loops"]);
    }
}

/// Requests a second with the walls and without, in turn.
fn throughput(bed: &Bed, app: &App) {
    let mut open = Bed::new();
    let mut runner = Command::new("/bin/sh");
    runner.args(["-c", "program=$1; shift; exec \"$program\" \"$@\" --reserve-ports none", "sh"]);
    runner.arg(common::bed::swrun());
    open.daemon_by(runner);
    let other = express(&open, "open", "");
    assert_eq!(bed.status(app)["ports"][0]["state"], "held");
    assert_eq!(open.status(&other)["ports"][0]["state"], "listening");
    let (mut with, mut without) = (Series::default(), Series::default());
    for _ in 0..9 {
        with.add(wrk(app.port));
        without.add(wrk(other.port));
    }
    println!("\n| Express under wrk, 64 connections | requests a second, median of 9 |\n|---|---|");
    println!("| with the walls | {:.0} |", with.median());
    println!("| without | {:.0} |", without.median());
    println!("| ratio | {:.3} |", with.median() / without.median());
    open.end();
}

fn wrk(port: u16) -> f64 {
    let url = format!("http://127.0.0.1:{port}/");
    let output = Command::new("wrk").args(["-t1", "-c64", "-d4s", &url]).output();
    let output = output.expect("wrk is there: apt-get install wrk");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
}
