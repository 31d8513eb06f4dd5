//! Python programs in environments: what they find they say.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::os::unix::fs::chown;

use crate::bed::{App, Bed, patience};

/// A Python program as an environment that owns its port; it says what it finds on stdout.
pub fn python(bed: &Bed, name: &str, script: &str, more: &str) -> App {
    let app = bed.app(name);
    let path = app.home.join("app.py");
    fs::write(&path, format!("{PRELUDE}{script}")).expect("our own folder");
    chown(&path, Some(app.uid), Some(app.uid)).expect("root may");
    let head = format!(
        "ports = [{}]\n{more}\n[env]\nPORT = \"{}\"\nPYTHONUNBUFFERED = \"1\"\n",
        app.port, app.port
    );
    bed.profile(&app, &["/usr/bin/python3", path.to_str().expect("plain")], &head);
    app
}

const PRELUDE: &str = r#"
import ctypes, errno, os, socket, sys, threading, time
from socket import *
PORT = int(os.environ["PORT"])
libc = ctypes.CDLL(None, use_errno=True)
def outcome(what):
    try:
        what()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
def tcp(family=AF_INET, **how):
    return socket(family, SOCK_STREAM, **how)
def say(*words):
    print(*words, flush=True)
def serve(listener=None):
    listener = listener or create_server(("", PORT))
    while True:
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        client.close()
"#;

/// Waits for so many lines of its stdout.
#[track_caller]
pub fn says(bed: &Bed, app: &App, lines: usize) -> Vec<String> {
    let deadline = std::time::Instant::now() + patience();
    loop {
        let said = bed.log(app, "out.log");
        if said.len() >= lines {
            return said;
        }
        assert!(std::time::Instant::now() < deadline, "{said:?} {:?}", bed.log(app, "err.log"));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
