//! Servers as they come, unmodified, in several languages: each is held, killed under load, reloaded under
//! load, and answers throughout. A server that falls back to plain binding fails here.

mod bed;
#[path = "common/load.rs"]
mod load;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use bed::{App, Bed, kill, pid};
use load::{Counts, Load};
use serde_json::Value;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/servers");
const CLIENTS: usize = 4;

/// A file of the fixtures in the app's own folder, with its port in it where it says PORT.
fn fixture(app: &App, file: &str) -> PathBuf {
    let text = fs::read_to_string(Path::new(FIXTURES).join(file)).expect("a fixture");
    let text =
        if file.ends_with(".conf") { text.replace("PORT", &app.port.to_string()) } else { text };
    let path = app.home.join(file);
    fs::write(&path, text).expect("our own folder");
    chown(&path, Some(app.uid), Some(app.uid)).expect("root may");
    path
}

/// Runs `command`, which must be installed (`tests/run` installs it).
#[track_caller]
fn built(command: &mut Command) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{command:?}: {status:?}");
}

/// What the server's own way to the end of a connection may cost at a death: what its workers have in
/// their hands, at most one of each client.
#[track_caller]
fn serves(bed: &Bed, app: &App, command: &[&str], more: &str) {
    let port = app.port;
    let head = format!("ports = [{port}]\n{more}\n[env]\nPORT = \"{port}\"\nHOME = \"/tmp\"\n");
    bed.profile(app, command, &head);
    let mut before = bed.start(app);
    assert_eq!(before["ports"][0]["state"], "held", "{before:#}");
    let load = Load::begin(SocketAddr::from(([127, 0, 0, 1], port)), CLIENTS);
    for _ in 0..2 {
        load.wait_for(30);
        kill(pid(&before));
        let is_new = |status: &Value| status["state"] == "online" && status["pid"] != before["pid"];
        before = bed.until(app, "the next instance", is_new);
        assert_eq!(before["ports"][0]["state"], "held", "{before:#}");
    }
    load.wait_for(30);
    bed.ok(&["reload", &app.name]);
    load.wait_for(30);
    let counts = load.end();
    println!("{}: {counts:?}", app.name);
    let Counts { refused, broken, timed_out, .. } = counts;
    let [refused, broken, timed_out] = [refused, broken, timed_out].map(|count| count.into_inner());
    assert_eq!((refused, timed_out), (0, 0), "{}", app.name);
    assert!(broken <= 3 * CLIENTS as u64, "{}: {broken}", app.name);
    bed.ok(&["stop", &app.name]);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn node_cluster() {
    let bed = Bed::running();
    let app = bed.app("cluster");
    let script = fixture(&app, "cluster.js");
    serves(&bed, &app, &["node", text(&script)], "");
    bed.end();
}

#[test]
fn gunicorn_with_workers() {
    let bed = Bed::running();
    let app = bed.app("gunicorn");
    fixture(&app, "app.py");
    let bind = format!("0.0.0.0:{}", app.port);
    serves(
        &bed,
        &app,
        &["gunicorn", "--workers", "2", "--worker-tmp-dir", "/tmp", "--bind", &bind, "app:wsgi"],
        "",
    );
    bed.end();
}

#[test]
fn uvicorn() {
    let bed = Bed::running();
    let app = bed.app("uvicorn");
    fixture(&app, "app.py");
    let port = app.port.to_string();
    serves(
        &bed,
        &app,
        &["/usr/bin/python3", "-m", "uvicorn", "--host", "0.0.0.0", "--port", &port, "app:asgi"],
        "",
    );
    bed.end();
}

#[test]
fn nginx() {
    let bed = Bed::running();
    let app = bed.app("nginx");
    let configuration = fixture(&app, "nginx.conf");
    serves(&bed, &app, &["/usr/sbin/nginx", "-e", "stderr", "-c", text(&configuration)], "");
    bed.end();
}

#[test]
fn go() {
    let bed = Bed::running();
    let app = bed.app("go");
    let source = fixture(&app, "server.go");
    let program = app.home.join("server");
    let cache = bed.root().join("go-cache");
    built(
        Command::new("go")
            .args(["build", "-o", text(&program), text(&source)])
            .env("GOCACHE", cache)
            .env("GOFLAGS", "-mod=mod")
            .env("HOME", bed.root()),
    );
    serves(&bed, &app, &[text(&program)], "");
    bed.end();
}

#[test]
fn tokio() {
    let bed = Bed::running();
    let app = bed.app("tokio");
    let path = bed::probe::path().with_file_name("tokio_server");
    if !path.exists() {
        // `cargo test --test NAME` builds no examples.
        built(Command::new(env!("CARGO")).args(["build", "--quiet", "--example", "tokio_server"]));
    }
    let program = app.home.join("tokio_server");
    fs::copy(path, &program).expect("just built");
    serves(&bed, &app, &[text(&program)], "");
    bed.end();
}

/// A port below 1024, without any capability in the app, and several ports at once.
#[test]
fn privileged_and_several_ports() {
    let bed = Bed::running();
    let app = bed.app("low");
    let script = app.home.join("app.py");
    fs::write(
        &script,
        r#"
import socket, threading
def serve(listener):
    while True:
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        client.close()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 53))
threads = [threading.Thread(target=serve, args=(socket.create_server(("", port)),)) for port in (80, 443)]
for thread in threads: thread.start()
while True:
    text, peer = datagrams.recvfrom(64)
    datagrams.sendto(text.upper(), peer)
"#,
    )
    .expect("our own folder");
    bed.profile(&app, &["/usr/bin/python3", text(&script)], "ports = [80, 443, \"53/udp\"]");
    let status = bed.start(&app);
    let state = |at: usize| status["ports"][at]["state"].as_str().map(str::to_owned);
    let states: Vec<_> = (0..3).filter_map(state).collect();
    assert_eq!(states.iter().filter(|state| *state == "held").count(), 2, "{status:#}");
    for port in [80, 443] {
        assert_eq!(bed::get(port, "/").expect("it serves"), "ok");
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(bed::patience())).expect("a time-out");
    socket.send_to(b"echo", "127.0.0.1:53").expect("sent");
    let mut answer = [0; 8];
    let length = socket.recv(&mut answer).expect("an answer");
    assert_eq!(&answer[..length], b"ECHO");
    bed.end();
}
