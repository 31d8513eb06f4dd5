//! `swrun web` as a server: who it runs as, whom it lets in, what it can make the runner do. The page itself: page.rs.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/watcher.rs"]
mod watcher;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use bed::{Bed, get, is_guest};
use serde_json::Value;
use watcher::{Watcher, Web};

fn converse(mut stream: impl Read + Write, request: &str) -> String {
    // A refusal can come before all was sent: what is not answered is an error then.
    let sent = write!(stream, "{request}\r\nConnection: close\r\n\r\n");
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    assert!(!text.is_empty(), "no answer: {sent:?}, {read:?}");
    String::from_utf8_lossy(&text).into_owned()
}

/// One request of several on a connection, and the whole answer.
fn ask_again(stream: &mut TcpStream, path: &str, token: &str) -> String {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .expect("it is open");
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
                return text;
            }
        }
        let count = stream.read(&mut block).expect("it answers");
        assert!(count > 0, "it was closed after {text}");
        answer.extend_from_slice(&block[..count]);
    }
}

fn asked(web: &Web, path: &str) -> Value {
    let (address, token) = web.parts();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}");
    let answer = converse(TcpStream::connect(address).expect("it listens"), &request);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).expect("JSON")
}

fn with_shop() -> (Bed, bed::App) {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "target = \"prod\"\n");
    bed.start(&app);
    (bed, app)
}

#[test]
fn it_tells_what_the_runner_knows() {
    let _watcher = Watcher::on_this_host();
    let (bed, app) = with_shop();
    let web = Web::start(&bed, &["--listen", "127.0.0.1:0"]);
    let told = asked(&web, "/api/status");
    let known = bed.status(&app);
    assert_eq!(told["schema"], 1);
    for key in ["name", "target", "state", "pid", "ports", "wanted"] {
        assert_eq!(told["environments"][0][key], known[key], "{key}");
    }
    assert!(told["leaks"]["shop"].is_string() && told["host"]["cpus"].is_u64(), "{told:#}");

    let events = asked(&web, "/api/events?environment=shop");
    let texts = events.as_array().expect("events").iter().map(|event| event["text"].as_str());
    assert!(texts.flatten().any(|text| text.contains("started")), "{events:#}");
    get(app.port, "/leak?mb=8").expect("it serves");
    get(app.port, "/out?lines=3").expect("it serves");
    kernel::until("a history", || {
        let past = asked(&web, "/api/history?environment=shop&hours=1");
        let column = past["columns"].as_array().expect("columns").iter().position(|c| c == "anon");
        let rows = past["rows"].as_array().expect("rows");
        rows.last().is_some_and(|row| row[column.expect("anon")].as_u64() > Some(8 << 20))
    });
    // The log in parts: all of it, then what is new.
    let first = asked(&web, "/api/logs?environment=shop");
    let said = |part: &Value| -> Vec<String> {
        let lines = part["lines"].as_array().expect("lines").iter();
        lines.filter_map(|line| line["text"].as_str().map(str::to_owned)).collect()
    };
    assert!(said(&first).ends_with(&["out 1".into(), "out 2".into(), "out 3".into()]), "{first:#}");
    let after = first["after"].as_str().expect("a place").to_owned();
    let next = format!("/api/logs?environment=shop&after={after}");
    assert_eq!(said(&asked(&web, &next)), Vec::<String>::new());
    get(app.port, "/out?lines=1").expect("it serves");
    get(app.port, "/err?lines=1").expect("it serves");
    kernel::until("what is new", || said(&asked(&web, &next)).len() == 2);
    drop(web);
    bed.end();
}

#[test]
fn it_is_nobody_who_could_change_anything() {
    let watcher = Watcher::on_this_host();
    let (bed, app) = with_shop();
    let web = Web::start(&bed, &["--listen", "127.0.0.1:0"]);
    let status = fs::read_to_string(format!("/proc/{}/status", web.pid())).expect("it lives");
    let uid = watcher.uid();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), vec![uid.to_string(); 4]);
    assert!(field("Groups:").iter().all(|group| group != "0"), "{status}");
    for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    // It types nothing into the terminal that it was started at.
    assert_eq!(field("Seccomp:"), ["2"]);

    // As that user: looking works at both sockets, orders at none, whatever is asked.
    let as_watcher = |words: &[&str]| {
        let id = uid.to_string();
        let gid = nix::unistd::Group::from_name("swrun-web").expect("readable").expect("there");
        let gid = gid.gid.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &gid, "--clear-groups"]).arg(bed::swrun());
        let output = command.arg("--root").arg(bed.root()).args(words).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // The program under test may lie where only root gets to.
    if fs::metadata(bed::swrun()).is_ok() && as_watcher(&["--version"]).0 == Some(0) {
        assert_eq!(as_watcher(&["status"]).0, Some(0));
        for words in [
            &["stop", "shop"] as &[&str],
            &["restart", "shop"],
            &["flush", "shop"],
            &["delete", "shop"],
            &["exec", "shop", "--", "id"],
            &["kill"],
        ] {
            let (code, said) = as_watcher(words);
            assert_eq!(code, Some(1), "{words:?}: {said}");
            assert!(said.contains("you may not do this"), "{words:?}: {said}");
        }
    }
    // At the page's own socket not even root's orders count.
    let socket = bed.root().join("run/swrun/see.sock");
    for method in ["stop", "start", "restart", "reload", "flush", "delete", "upgrade"] {
        let ask = format!(
            "{{\"method\":\"{method}\",\"parameters\":{{\"targets\":[\"shop\"],\"wait\":true}}}}"
        );
        let said = raw(&socket, &ask);
        assert!(said.contains("not-permitted") && said.contains("for looking"), "{method}: {said}");
    }
    for ask in [
        "{\"method\":\"kill\",\"parameters\":{}}",
        "{\"method\":\"list\",\"parameters\":{}}",
        "{\"method\":\"renew\",\"parameters\":{}}",
        "{\"method\":\"exec\",\"parameters\":{\"target\":\"shop\"}}",
    ] {
        assert!(raw(&socket, ask).contains("not-permitted"), "{ask}");
    }
    assert!(
        raw(&socket, "{\"method\":\"status\",\"parameters\":{\"targets\":[]}}").contains("shop")
    );
    assert_eq!(bed.status(&app)["state"], "online");

    drop(web);
    bed.end();
}

/// One request and all that comes.
fn raw(socket: &std::path::Path, ask: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.write_all(&[ask.as_bytes(), &[0]].concat()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

#[test]
fn whoever_has_no_token_gets_the_empty_page_alone() {
    let _watcher = Watcher::on_this_host();
    let (bed, _) = with_shop();
    let web = Web::start(&bed, &["--listen", "127.0.0.1:0"]);
    let (address, token) = web.parts();
    let send = |request: &str| converse(TcpStream::connect(address).expect("it listens"), request);
    let page = send("GET / HTTP/1.1\r\nHost: localhost");
    assert!(page.starts_with("HTTP/1.1 200") && !page.contains("shop"), "{page}");
    for path in ["/api/status", "/api/events?environment=shop", "/api/logs?environment=shop"] {
        for header in [
            "",
            "\r\nAuthorization: Bearer ",
            "\r\nAuthorization: Bearer 0",
            "\r\nAuthorization: Basic x",
        ] {
            let answer = send(&format!("GET {path} HTTP/1.1\r\nHost: localhost{header}"));
            assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("shop"), "{answer}");
        }
        // Nor in an address, where it would get into logs.
        let sign = if path.contains('?') { '&' } else { '?' };
        let answer = send(&format!("GET {path}{sign}token={token} HTTP/1.1\r\nHost: localhost"));
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let with = |request: &str, host: &str| {
        send(&format!("{request} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}"))
    };
    // A name that was made to lead here.
    assert!(with("GET /api/status", "evil.example").starts_with("HTTP/1.1 421"));
    assert!(with("GET /api/status", "127.0.0.1:9999").starts_with("HTTP/1.1 200"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert!(with(&format!("{method} /api/status"), "localhost").starts_with("HTTP/1.1 405"));
    }
    for path in [
        "/api/kill",
        "/api/",
        "/api/history?environment=shop&hours=99999",
        "/api/logs?environment=../etc",
    ] {
        let answer = with(&format!("GET {path}"), "localhost");
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    for path in ["/../../etc/passwd", "/page.js/..", "//", "/api"] {
        assert!(with(&format!("GET {path}"), "localhost").starts_with("HTTP/1.1 404"), "{path}");
    }
    let none = with("GET /api/logs?environment=none", "localhost");
    assert!(none.starts_with("HTTP/1.1 502") && none.contains("there is no environment"), "{none}");
    assert!(
        send(&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(64 << 10)))
            .starts_with("HTTP/1.1 4")
    );
    // Each answer has the policy, refusals too.
    for answer in [
        page,
        with("GET /api/status", "localhost"),
        with("GET /none", "localhost"),
        send("GET /api/status HTTP/1.1\r\nHost: localhost"),
    ] {
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "require-trusted-types-for 'script'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            // By its whole name, or what it says.
            let is_there =
                answer.contains(&format!("\r\n{header}")) || answer.contains(&format!(" {header}"));
            assert!(is_there, "{header}: {answer}");
        }
        assert!(
            !answer.contains("unsafe-inline")
                && !answer.to_lowercase().contains("access-control-allow")
        );
    }
    // Who says nothing, or has no token, takes nobody's place; who has it keeps its own.
    let kept = |path: &str, token: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let answer = ask_again(&mut stream, path, token);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        stream
    };
    let mut own = kept("/api/status", token);
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let talking: Vec<TcpStream> = (0..100).map(|_| kept("/icon.svg", "")).collect();
    assert!(with("GET /api/status", "localhost").starts_with("HTTP/1.1 200"));
    assert!(ask_again(&mut own, "/api/status", token).starts_with("HTTP/1.1 200"));
    drop((silent, talking, own, web));
    bed.end();
}

#[test]
fn behind_a_socket_the_proxy_lets_people_in() {
    let watcher = Watcher::on_this_host();
    let (mut bed, _) = with_shop();
    let folder = bed.root().join("page");
    fs::create_dir(&folder).expect("ours");
    std::os::unix::fs::chown(&folder, Some(watcher.uid()), None).expect("root may");
    let path = folder.join("page.sock");
    let text = path.to_str().expect("a plain path");
    let web = Web::start(&bed, &["--socket", text]);
    assert!(web.said.contains(text), "{}", web.said);
    let found = fs::metadata(&path).expect("it listens");
    assert_eq!((found.uid(), found.permissions().mode() & 0o777), (watcher.uid(), 0o660));
    let ask = |path_of: &str| {
        let stream = UnixStream::connect(&path).expect("it listens");
        converse(stream, &format!("GET {path_of} HTTP/1.1\r\nHost: swrun.example"))
    };
    assert!(ask("/api/status").contains("\"shop\""));
    // The runner away, and back.
    bed.kill_daemon();
    kernel::until("it says so", || {
        let answer = ask("/api/status");
        answer.starts_with("HTTP/1.1 503") && answer.contains("the runner is not running")
    });
    bed.daemon();
    kernel::until("it is back", || ask("/api/status").starts_with("HTTP/1.1 200"));
    drop(web);
    // What it left is in nobody's way.
    let again = Web::start(&bed, &["--socket", text]);
    assert!(ask("/").contains("<title>swrun</title>"), "{}", again.said);
    drop(again);
    bed.end();
}

#[test]
fn wrong_words_are_told_what_to_do() {
    let _watcher = Watcher::on_this_host();
    let bed = Bed::new();
    let said = bed.fails(2, &["web", "--listen", "0.0.0.0:80"]);
    assert!(said.contains("loopback") && said.contains("127.0.0.1:9478"), "{said}");
    let file = bed.root().join("token");
    fs::write(&file, "0123456789abcdefghijklmnop\n").expect("ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
    let path = file.to_str().expect("a plain path");
    let said = bed.fails(1, &["web", "--token-file", path]);
    assert!(said.contains("everybody can read it"), "{said}");
    if !is_guest() {
        assert!(
            bed.ok(&["setup", "--web", "--dry-run"]).find("swrun-web").is_none(),
            "it is there"
        );
    }
}
