//! Requests that fail while an app is killed, restarted, reloaded, scaled; what the walls round its ports
//! cost. Needs `SWRUN_EXPRESS` (a folder made by `tests/fixtures/express/install`), and wrk for the last part.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::bed::{App, Bed, kill, pid};
use common::{Series, text};
use serde_json::Value;

/// Twenty milliseconds a request; `DRAIN`: it lets what it has in hand come to an end, says so to those that
/// keep their connections, and lets these live a second.
const APP: &str = r#"
const express = require('express');
const app = express();
let ends = false;
app.get('/', (request, response) => setTimeout(() => {
  if (ends) response.set('Connection', 'close');
  response.send('ok');
}, 20));
const kept = [];
app.get('/fast', (request, response) => response.send('ok'));
app.get('/leak', () => { for (;;) kept.push(Buffer.alloc(1 << 20, 1)); });
const server = app.listen(Number(process.env.PORT));
server.keepAliveTimeout = 60000;
if (process.env.DRAIN) process.on('SIGTERM', () => {
  ends = true;
  // server.close() of http ends idle connections at once, also those whose request is on its way.
  require('net').Server.prototype.close.call(server, () => process.exit(0));
  setTimeout(() => server.closeIdleConnections(), 1000);
});
"#;

/// `cargo bench --bench ports -- [load] [loops] [throughput] [bare]`: those parts alone.
fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    let mut bed = Bed::running();
    let plain = express(&bed, "plain", "");
    if is_wanted("load") {
        disturbances(&mut bed, &plain);
    }
    if is_wanted("loops") {
        loops(&bed);
    }
    if is_wanted("throughput") {
        throughput(&bed, &plain);
    }
    if is_wanted("bare") {
        beside_bare(&bed);
    }
    bed.end();
}

fn disturbances(bed: &mut Bed, plain: &App) {
    println!(
        "| Express, 400 new connections a second | times | requests | in hand | refused | timed out |"
    );
    println!("|---|---|---|---|---|---|");
    disturb(bed, plain, "SIGKILL of the app", 20, |bed, app| {
        let before = bed.status(app);
        kill(pid(&before));
        bed.until(app, "back", |now| now["state"] == "online" && now["pid"] != before["pid"]);
    });
    let order = |verb: &'static str| move |bed: &Bed, app: &App| drop(bed.ok(&[verb, &app.name]));
    disturb(bed, plain, "reload, an app that just dies", 5, order("reload"));
    let drains = express(bed, "drains", "DRAIN = \"1\"\n");
    disturb(bed, &drains, "reload, an app that drains", 5, order("reload"));
    disturb(bed, &drains, "restart, an app that drains", 5, order("restart"));
    disturb(bed, &drains, "scale 1 to 3 to 1, an app that drains", 3, |bed, app| {
        bed.ok(&["scale", &app.name, "3"]);
        bed.ok(&["scale", &app.name, "1"]);
    });
    disturb_kept(bed, &drains, "reload, clients that keep their connections", 5, order("reload"));
    disturb(bed, plain, "breach of the ceiling", 5, |bed, app| {
        let before = bed.status(app);
        let _ = common::bed::get(app.port, "/leak");
        let is_back = |now: &Value| {
            now["state"] == "online"
                && now["pid"] != before["pid"]
                && now["last_exit"]["cause"] == "memory-ceiling"
        };
        bed.until(app, "back", is_back);
    });
    disturb(bed, plain, "kill -9 of the monitor", 5, |bed, app| {
        let before = bed.status(app);
        kill(i32::try_from(before["monitor_pid"].as_i64().expect("known")).expect("a pid"));
        let is_back =
            |now: &Value| now["state"] == "online" && now["monitor_pid"] != before["monitor_pid"];
        bed.until(app, "back", is_back);
    });
    let mut round = 0;
    let address = address(plain);
    load(
        "another runner in its place",
        5,
        || move || common::load::ask(address),
        || {
            round += 1;
            bed.kill_daemon();
            let program = bed.root().join(format!("swrun-{round}"));
            fs::copy(common::bed::swrun(), &program).expect("our own folder");
            bed.daemon_by(Command::new(program));
        },
    );
}

fn express(bed: &Bed, name: &str, variables: &str) -> App {
    express_within(bed, name, variables, "256M")
}

fn express_within(bed: &Bed, name: &str, variables: &str, ceiling: &str) -> App {
    let app = bed.app(name);
    let modules = std::env::var_os("SWRUN_EXPRESS").expect("SWRUN_EXPRESS is not set");
    let modules = PathBuf::from(modules).join("node_modules");
    let copied = Command::new("cp").args(["-a", text(&modules), text(&app.home)]).status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::write(app.home.join("index.js"), APP).expect("our own folder");
    // Twenty deaths in a row would let the pause grow.
    let restart = format!("[limits]\nmemory-max = \"{ceiling}\"\n[restart]\nmax-delay = \"100ms\"");
    let head = format!("ports = [{0}]\n{restart}\n[env]\nPORT = \"{0}\"\n{variables}", app.port);
    bed.profile(&app, &["node", "index.js"], &head);
    bed.start(&app);
    app
}

/// Sixteen clients with 25 connections a second each, while `what` is done so many times.
fn disturb(bed: &Bed, app: &App, title: &str, times: u32, what: impl Fn(&Bed, &App)) {
    let address = address(app);
    load(title, times, || move || common::load::ask(address), || what(bed, app));
}

/// The same, over connections that are kept.
fn disturb_kept(bed: &Bed, app: &App, title: &str, times: u32, what: impl Fn(&Bed, &App)) {
    let address = address(app);
    let client = || {
        let mut kept = None;
        move || common::load::ask_kept(address, &mut kept)
    };
    load(title, times, client, || what(bed, app));
}

fn address(app: &App) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], app.port))
}

fn load<A>(title: &str, times: u32, new_client: impl Fn() -> A, mut what: impl FnMut())
where
    A: FnMut() -> Result<(), std::io::ErrorKind> + Send + 'static,
{
    let [good, in_hand, refused, timed_out] = common::under_load(new_client, || {
        for _ in 0..times {
            std::thread::sleep(Duration::from_millis(500));
            what();
        }
        std::thread::sleep(Duration::from_millis(500));
    });
    println!("| {title} | {times} | {good} | {in_hand} | {refused} | {timed_out} |");
}

/// The loops in the cage, and beside it under a filter of one rule and under none.
fn loops(bed: &Bed) {
    let program = bed.root().join("loops");
    common::compile("benches/common/loops.c", &program);
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
    println!("\n| wrk, 64 connections | with the walls | without | ratio |\n|---|---|---|---|");
    let restart = |apps: [(&Bed, &App); 2]| {
        for (bed, app) in apps {
            bed.ok(&["restart", &app.name]);
        }
    };
    let both = [(bed, app), (&open, &other)];
    compare("Express, 20 ms a request", [app.port, other.port], "", || restart(both));
    let (walled, plain) = (nginx(bed), nginx(&open));
    let both = [(bed, &walled), (&open, &plain)];
    compare("nginx, connections kept", [walled.port, plain.port], "", || restart(both));
    for (bed, app) in [(bed, &walled), (&open, &plain)] {
        bed.ok(&["stop", &app.name]);
    }
    open.end();
}

/// Express in the cage, beside the same program of the same user that was started by hand.
/// With room: Node fits its heap to the ceiling, and collects garbage more often under a low one.
fn beside_bare(bed: &Bed) {
    let app = &express_within(bed, "roomy", "", "4G");
    println!("\n| wrk, 64 connections | caged | bare | ratio |\n|---|---|---|---|");
    let mut bare: Option<std::process::Child> = None;
    let port = common::bed::free_port();
    compare("Express, answers at once", [app.port, port], "fast", || {
        bed.ok(&["restart", &app.name]);
        end(&mut bare);
        let uid = app.uid.to_string();
        let child = Command::new("setpriv")
            .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "node", "index.js"])
            .current_dir(&app.home)
            .env("PORT", port.to_string())
            .spawn();
        bare = Some(child.expect("util-linux"));
        common::until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    });
    end(&mut bare);
}

/// Requests a second, median of 24: two a round, the second pair in the other order; and the median of the
/// rounds' own ratios, since a machine that others use is faster in one minute than in the next. Each round has
/// processes of its own: where one's memory happens to lie makes more of a difference than what is measured.
fn compare(title: &str, [one, other]: [u16; 2], path: &str, mut renew: impl FnMut()) {
    let (mut with, mut without, mut ratio) =
        (Series::default(), Series::default(), Series::default());
    for _ in 0..12 {
        renew();
        let [a, b, c, d] = [one, other, other, one].map(|port| wrk(port, path));
        [a, d].into_iter().for_each(|rate| with.add(rate));
        [b, c].into_iter().for_each(|rate| without.add(rate));
        ratio.add((a + d) / (b + c));
    }
    let (with, without, ratio) = (with.median(), without.median(), ratio.median());
    println!("| {title} | {with:.0} | {without:.0} | {ratio:.3} |");
}

fn end(child: &mut Option<std::process::Child>) {
    if let Some(mut child) = child.take() {
        child.kill().expect("ours");
        child.wait().expect("its end");
    }
}

/// One worker on the first CPU; wrk is on the second.
fn nginx(bed: &Bed) -> App {
    let app = bed.app("nginx");
    let text = include_str!("../tests/fixtures/servers/nginx.conf")
        .replace("PORT", &app.port.to_string())
        .replace("worker_processes 2;", "worker_processes 1; worker_cpu_affinity 01;");
    let file = app.home.join("nginx.conf");
    fs::write(&file, text).expect("our own folder");
    let command = ["/usr/sbin/nginx", "-e", "stderr", "-c", common::text(&file)];
    bed.profile(&app, &command, &format!("ports = [{}]", app.port));
    bed.start(&app);
    app
}

fn wrk(port: u16, path: &str) -> f64 {
    let url = format!("http://127.0.0.1:{port}/{path}");
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "wrk", "-t1", "-c64", "-d2s"]);
    common::wrk(command, &url)
}
