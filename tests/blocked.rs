//! A port that somebody else has: who that is, and what happens when that one goes.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::process::{Child, Command, Stdio};

use bed::{App, Bed, get};
use serde_json::Value;

/// Ends with its test, which may have failed.
struct Stranger(Child);

impl Stranger {
    fn end(&mut self) {
        // One that has ended needs none.
        let _ = self.0.kill();
        self.0.wait().expect("its end");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.end();
    }
}

/// A process of no environment that listens on `port` until it is ended.
fn stranger(port: u16) -> Stranger {
    let script = format!(
        "import socket, time\ns = socket.create_server((\"127.0.0.1\", {port}))\nprint(\"up\", flush=True)\ntime.sleep(900)\n"
    );
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut up).expect("it is up");
    Stranger(child)
}

fn blocked(bed: &Bed, app: &App) -> Value {
    bed.until(app, "it is blocked", |status| status["state"] == "blocked")
}

#[test]
fn the_holder_is_named_and_its_end_is_waited_for() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let mut holder = stranger(app.port);
    let said = bed.fails(1, &["start", "shop"]);
    let pid = holder.0.id();
    assert!(
        said.contains(&format!(
            "is blocked: port {}/tcp is taken by \"python3\", pid {pid}, uid 0",
            app.port
        )),
        "{said}"
    );
    let status = blocked(&bed, &app);
    assert_eq!(status["blocked_by"]["pid"], pid);
    assert_eq!((&status["wanted"], &status["pid"]), (&"online".into(), &Value::Null));
    assert_eq!(status["ports"][0]["state"], "blocked");
    assert!(status["blocked_by"]["cgroup"].is_string(), "{status:#}");
    let ports: Value = serde_json::from_str(&bed.ok(&["ports", "--json"])).expect("JSON");
    assert_eq!(
        (&ports["ports"][0]["state"], &ports["ports"][0]["pid"]),
        (&"blocked".into(), &pid.into())
    );
    // It is no crash, and nothing spins.
    assert_eq!((&status["unstable"], &status["restarts"]), (&0.into(), &0.into()));
    assert_eq!(kernel::events(&bed, &app, "blocked").len(), 1);
    holder.end();
    bed.until(&app, "it starts by itself", |status| status["state"] == "online");
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    assert_eq!(kernel::events(&bed, &app, "blocked").len(), 1, "told once");
    bed.end();
}

#[test]
fn evict_ends_the_holder_and_nobody_else() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let mut holder = stranger(app.port);
    // Without a terminal nobody agrees.
    let said = bed.fails(1, &["start", "shop", "--evict"]);
    assert!(said.contains("say --yes"), "{said}");
    assert!(holder.0.try_wait().expect("ours").is_none(), "it lives");
    let said = bed.swrun(&["start", "shop", "--evict", "--yes"]);
    assert!(said.status.success(), "{:?}", bed::texts(&said));
    assert!(bed::texts(&said).0.contains("is online"), "{:?}", bed::texts(&said));
    assert!(!holder.0.wait().expect("its end").success());
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    // Nothing is in the way: it is a start like any other.
    bed.ok(&["start", "shop", "--evict", "--yes"]);
    bed.end();
}

#[test]
fn a_stop_ends_the_waiting() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let mut holder = stranger(app.port);
    bed.fails(1, &["start", "shop"]);
    blocked(&bed, &app);
    bed.ok(&["stop", "shop"]);
    holder.end();
    assert_eq!(bed.status(&app)["state"], "stopped");
    bed.ok(&["start", "shop"]);
    bed.end();
}
