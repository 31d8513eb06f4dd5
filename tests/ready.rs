//! When an instance counts as up: with real Node over its own channel, with Python over `sd_notify(3)`'s socket; and the
//! number that an instance has among its environment's.

mod bed;
#[path = "common/load.rs"]
mod load;

use std::fs;
use std::time::{Duration, Instant};

use bed::{App, Bed, get, kill, pid};
use load::Load;
use serde_json::Value;

/// Listens at once. It says that it is ready when the file "go" is there, and all kinds of other things before.
const NODE: &str = r#"
const fs = require("fs");
const { createServer } = require("http");
const number = process.env.NODE_APP_INSTANCE;
const born = Math.random();
createServer((_, answer) => answer.end(`${born} ${number} ${process.connected}`)).listen(process.env.PORT);
process.on("disconnect", () => console.log("disconnected"));
process.send({ not: "ready" });
process.send("read");
process.send("x".repeat(300000));
const timer = setInterval(() => {
  if (!fs.existsSync("go")) return;
  clearInterval(timer);
  process.send("ready");
}, 5);
process.on("SIGTERM", () => process.exit(0));
"#;

const PYTHON: &str = r#"
import http.server, os, socket, threading, time
def say():
    path = os.environ["NOTIFY_SOCKET"]
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.sendto(b"STATUS=starting\nMAINPID=1", path)
    while not os.path.exists("go"):
        time.sleep(0.005)
    end.sendto(b"READY=1\nSTATUS=up", path)
threading.Thread(target=say).start()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"#;

fn app(bed: &Bed, name: &str, program: &[&str], text: &str, more: &str) -> App {
    let app = bed.app(name);
    fs::write(app.home.join("app"), text).expect("ours");
    bed.env_file(
        &app,
        &format!("PORT={}\nNODE_CHANNEL_FD=1\nNOTIFY_SOCKET=/etc/passwd\n", app.port),
    );
    let command = [program, &["app"]].concat();
    bed.profile(&app, &command, &format!("ports = [{}]\n{more}", app.port));
    app
}

fn go(app: &App) {
    fs::write(app.home.join("go"), "").expect("ours");
}

#[test]
fn an_app_is_up_once_it_has_said_so() {
    let bed = Bed::running();
    for (name, program, text, more, word) in [
        ("node", &["node"][..], NODE, "ready = \"message\"", "process.send(\"ready\")"),
        ("python", &["python3"], PYTHON, "ready = \"notify\"", "READY=1"),
    ] {
        let app = app(&bed, name, program, text, more);
        bed.ok(&["start", "--no-wait", name]);
        let status = bed.until(&app, "it listens", |status| {
            status["reason"].as_str().is_some_and(|reason| reason.contains("has not said"))
        });
        assert_eq!(status["state"], "starting", "{status}");
        assert!(status["reason"].as_str().is_some_and(|reason| reason.contains(word)), "{status}");
        // What it says goes over to another monitor, said or not.
        bed.ok(&["upgrade", name]);
        assert_eq!(bed.status(&app)["state"], "starting");
        go(&app);
        bed.until(&app, "online", |status| status["state"] == "online");
        bed.ok(&["upgrade", name]);
        assert_eq!(bed.status(&app)["state"], "online");
        // The order waits for it too.
        bed.ok(&["restart", name]);
        assert_eq!(bed.status(&app)["state"], "online");
    }
    bed.end();
}

/// Answers 503 until the file "go" is there.
const WARMING_UP: &str = r#"
const fs = require("fs");
require("http").createServer((_, answer) => {
  answer.statusCode = fs.existsSync("go") ? 204 : 503;
  answer.end();
}).listen(process.env.PORT);
"#;

#[test]
fn an_app_is_up_once_its_address_answers() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let address = format!("http://127.0.0.1:{}/healthz", app.port);
    fs::write(app.home.join("app"), WARMING_UP).expect("ours");
    bed.env_file(&app, &format!("PORT={}\n", app.port));
    let more = format!(
        "ports = [{}]\ninstances = 2\nready = \"health\"\n[health]\nhttp = \"{address}\"\n",
        app.port
    );
    bed.profile(&app, &["node", "app"], &more);
    bed.ok(&["start", "--no-wait", "shop"]);
    let status = bed.until(&app, "it has answered, and not well", |status| {
        status["reason"].as_str().is_some_and(|reason| reason.contains("answered 503"))
    });
    assert_eq!(status["state"], "starting", "{status}");
    bed.ok(&["upgrade", "shop"]);
    let asked = |status: &Value| {
        status["reason"].as_str().is_some_and(|reason| reason.contains("answered 503"))
    };
    bed.until(&app, "the new monitor asks too", asked);
    go(&app);
    bed.until(&app, "online", |status| {
        let list = status["instances"].as_array().cloned().unwrap_or_default();
        list.len() == 2 && list.iter().all(|one| one["state"] == "online")
    });
    // Without [health] nobody could be asked.
    bed.profile(&app, &["node", "app"], "ready = \"health\"");
    let (out, err) = bed::texts(&bed.swrun(&["check"]));
    assert!((out.clone() + &err).contains("asks for an answer of [health]"), "{out}{err}");
    bed.end();
}

#[test]
fn a_reload_waits_for_the_word_and_loses_nothing() {
    let bed = Bed::running();
    let app = app(&bed, "node", &["node"], NODE, "ready = \"message\"");
    go(&app);
    let before = bed.start(&app);
    let first = get(app.port, "/").expect("it answers");
    assert!(first.ends_with(" 0 true"), "{first}");
    let load = Load::begin(([127, 0, 0, 1], app.port).into(), 4);
    load.wait_for(50);
    fs::remove_file(app.home.join("go")).expect("ours");
    let name = app.name.clone();
    let root = bed.root().to_owned();
    let order = std::thread::spawn(move || {
        let mut command = std::process::Command::new(bed::swrun());
        command.args(["reload", &name]).env("SWRUN_ROOT", root).output().expect("it runs")
    });
    let two = |status: &Value| {
        status["instances"]
            .as_array()
            .is_some_and(|list| list.iter().filter(|one| !one["pid"].is_null()).count() == 2)
    };
    bed.until(&app, "the new one beside the old one", two);
    // The old one serves as long as the new one has not said it.
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        assert_eq!(get(app.port, "/").expect("it answers"), first);
        assert!(!order.is_finished());
    }
    assert_eq!(bed.status(&app)["pid"], before["pid"]);
    go(&app);
    let done = order.join().expect("it ends");
    assert!(done.status.success(), "{:?}", bed::texts(&done));
    assert_ne!(bed.status(&app)["pid"], before["pid"]);
    let second = get(app.port, "/").expect("it answers");
    assert!(second != first && second.ends_with(" 0 true"), "{second}");
    load.wait_for(50);
    let counts = load.end();
    // Node's first SIGTERM ends what it has in hand; none is refused.
    assert_eq!(counts.refused.into_inner(), 0);
    bed.end();
}

/// The numbers that instances say they have.
fn numbers(bed: &Bed, app: &App) -> Vec<u32> {
    let list = bed.status(app)["instances"].as_array().cloned().unwrap_or_default();
    let of = |one: &Value| -> Option<u32> {
        let text = fs::read(format!("/proc/{}/environ", one["pid"])).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        text.split('\0').find_map(|line| line.strip_prefix("WORKER="))?.parse().ok()
    };
    let mut numbers: Vec<u32> = list.iter().filter_map(of).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn an_instance_has_its_number_and_who_replaces_it_has_it_too() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let more = "instances = 3\ninstance-var = \"WORKER\"\n[restart]\nfirst-delay = \"500ms\"";
    bed.probe(&app, more);
    bed.start(&app);
    let all_up = |status: &Value| {
        let list = status["instances"].as_array().cloned().unwrap_or_default();
        list.len() == 3 && list.iter().all(|one| one["state"] == "online")
    };
    bed.until(&app, "all of them", all_up);
    assert_eq!(numbers(&bed, &app), [0, 1, 2]);
    let before = bed.status(&app);
    kill(pid(&before["instances"][1]));
    bed.until(&app, "another in its place", |status| {
        all_up(status) && status["restarts"] != before["restarts"]
    });
    assert_eq!(numbers(&bed, &app), [0, 1, 2]);
    bed.ok(&["reload", "shop"]);
    bed.until(&app, "all new", all_up);
    assert_eq!(numbers(&bed, &app), [0, 1, 2]);
    // Fewer: 0 is among them, though it is dead just then, and waits for its next try.
    kill(pid(&bed.status(&app)["instances"][0]));
    bed.until(&app, "one is missing", |status| {
        status["instances"].as_array().is_some_and(|list| list.len() == 2)
    });
    bed.ok(&["scale", "shop", "2"]);
    bed::until("0 and 1 are there", || numbers(&bed, &app) == [0, 1]);
    bed.ok(&["upgrade", "shop"]);
    bed.ok(&["scale", "shop", "4"]);
    bed.until(&app, "four", |status| {
        status["instances"].as_array().is_some_and(|list| list.len() == 4)
    });
    assert_eq!(numbers(&bed, &app), [0, 1, 2, 3]);
    bed.end();
}
