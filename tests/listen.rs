//! What an app is answered when it binds and listens, seen from inside its cage. Each test in a network
//! namespace of its own.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/scripts.rs"]
mod scripts;

use std::fs;

use bed::{App, Bed, get, is_guest, pid};
use scripts::{python, says};
use serde_json::Value;

/// Files of cgroups that a monitor keeps open to read them anew.
const KEPT: usize = 32;

#[test]
fn own_ports_ephemeral_ports_and_other_sockets_listen_and_nothing_else() {
    let bed = Bed::running();
    let script = r#"
listener = create_server(("", PORT))
other = tcp()
say("other port:", outcome(lambda: other.bind(("", PORT + 1))))
say("without bind:", outcome(lambda: tcp().listen()))
say("without bind, v6:", outcome(lambda: tcp(AF_INET6).listen()))
say("without bind, mptcp:", outcome(lambda: tcp(proto=262).listen()))
ephemeral = tcp(); ephemeral.bind(("127.0.0.1", 0))
say("ephemeral:", outcome(ephemeral.listen))
near, far = create_connection(ephemeral.getsockname()), ephemeral.accept()[0]
near.sendall(b"x"); say("and serves:", far.recv(1).decode())
unix = socket(AF_UNIX); unix.bind("/tmp/sock"); say("unix:", outcome(unix.listen))
client = socket(AF_UNIX); client.connect("/tmp/sock")
SO_PEERCRED = 17
uid = int.from_bytes(client.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[4:8], "little")
gid = int.from_bytes(client.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[8:12], "little")
say("its peer is us:", (uid, gid) == (os.getuid(), os.getgid()))
say("udp:", outcome(socket(AF_INET, SOCK_DGRAM).listen))
say("no socket:", outcome(lambda: socket(fileno=os.open("/dev/null", os.O_RDONLY))))
libc.listen(0, 1); say("a file:", errno.errorcode[ctypes.get_errno()])
libc.listen(-1, 1); say("none:", errno.errorcode[ctypes.get_errno()])
libc.listen(999, 1); say("no descriptor:", errno.errorcode[ctypes.get_errno()])
say("again:", outcome(lambda: listener.listen(5)))
serve(listener)
"#;
    let app = python(&bed, "shop", script, "");
    let status = bed.start(&app);
    assert_eq!(status["ports"][0]["state"], "held");
    let said = says(&bed, &app, 14);
    // The guest's kernel has no MPTCP.
    let mptcp = if is_guest() { "EPROTONOSUPPORT" } else { "EACCES" };
    let wanted = [
        "other port: EACCES",
        "without bind: EACCES",
        "without bind, v6: EACCES",
        &format!("without bind, mptcp: {mptcp}"),
        "ephemeral: ok",
        "and serves: x",
        "unix: ok",
        "its peer is us: True",
        "udp: ENOTSUP",
        "no socket: ENOTSOCK",
        "a file: ENOTSOCK",
        "none: EBADF",
        "no descriptor: EBADF",
        "again: ok",
    ];
    assert_eq!(said[..wanted.len().min(said.len())], wanted[..], "{:?}", bed.log(&app, "err.log"));
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    bed.end();
}

/// 32-bit calls, io_uring, raw sockets, a filter of the app's own.
#[test]
fn the_ways_round_are_closed() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/servers/ways.c");
    let program = app.home.join("ways");
    let built =
        std::process::Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "cc: install gcc and libc6-dev");
    let head = format!("ports = [{0}]\n[env]\nPORT = \"{0}\"\n", app.port);
    bed.profile(&app, &[program.to_str().expect("plain")], &head);
    let status = bed.start(&app);
    assert_eq!(status["ports"][0]["state"], "held");
    let said = says(&bed, &app, 10);
    let wanted = [
        "i386 listen: killed",
        "i386 socketcall listen: killed",
        "i386 bind of another port: killed",
        "x32 listen: ENOSYS",
        "io_uring: ENOSYS",
        "raw socket: EPERM",
        "packet socket: EAFNOSUPPORT",
        "a listener of its own: EBUSY",
        "a filter of its own: ok",
        "listen: ok",
    ];
    assert_eq!(said, wanted);
    bed.end();
}

#[test]
fn a_second_listener_of_an_instance_is_refused_unless_both_share() {
    let bed = Bed::running();
    let script = r#"
first = create_server(("", PORT))
def second(share=False, family=AF_INET, host=""):
    other = tcp(family)
    if share: other.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
    other.bind((host, PORT)); other.listen()
say("plain:", outcome(second))
say("one shares:", outcome(lambda: second(share=True)))
say("special:", outcome(lambda: second(host="127.0.0.1")))
say("both families:", outcome(lambda: second(family=AF_INET6, host="::")))
child = os.fork()
if child == 0:
    say("of a child:", outcome(second)); os._exit(0)
os.waitpid(child, 0)
first.close()
say("after close:", outcome(lambda: globals().__setitem__("third", create_server(("", PORT)))))
third.close()
shared = [tcp() for _ in range(3)]
for one in shared:
    one.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1); one.bind(("", PORT))
say("all share:", *(outcome(one.listen) for one in shared))
for one in shared: threading.Thread(target=serve, args=(one,)).start()
"#;
    let app = python(&bed, "shop", script, "");
    bed.start(&app);
    let said = says(&bed, &app, 7);
    let wanted = [
        "plain: EADDRINUSE",
        "one shares: EADDRINUSE",
        "special: EADDRINUSE",
        "both families: EADDRINUSE",
        "of a child: EADDRINUSE",
        "after close: ok",
        "all share: ok ok ok",
    ];
    assert_eq!(said, wanted, "{:?}", bed.log(&app, "err.log"));
    for _ in 0..20 {
        assert_eq!(get(app.port, "/").expect("each serves"), "ok");
    }
    bed.end();
}

#[test]
fn a_refused_bind_is_an_event_and_a_line_of_show() {
    let bed = Bed::running();
    let blog = bed.app("blog");
    bed.probe(&blog, "");
    bed.start(&blog);
    let script = format!(
        r#"
for _ in range(10000):
    outcome(lambda: tcp().bind(("", {})))
say("tried")
serve()
"#,
        blog.port
    );
    let app = python(&bed, "shop", &script, "");
    let status = bed.start(&app);
    says(&bed, &app, 1);
    let refused = |app: &App| kernel::events(&bed, app, "refused");
    kernel::until("it is told", || !refused(&app).is_empty());
    let told = refused(&app);
    assert_eq!(told.len(), 1, "the rest is counted: {told:?}");
    assert_eq!((&told[0]["port"], &told[0]["proto"]), (&blog.port.into(), &"tcp".into()));
    assert_eq!((&told[0]["program"], &told[0]["pid"]), (&"python3".into(), &status["pid"]));
    assert_eq!(told[0]["stranger"], false);
    let shown = bed.ok(&["show", "shop"]);
    assert!(
        shown.contains(&format!("port {}/tcp was refused to its \"python3\"", blog.port)),
        "{shown}"
    );
    assert!(refused(&blog).is_empty(), "its owner is not disturbed");
    // Who owns it sees how often.
    let ports: Value = serde_json::from_str(&bed.ok(&["ports", "blog", "--json"])).expect("JSON");
    assert_eq!(ports["ports"][0]["refused"], 10_000, "{ports:#}");
    assert_eq!(get(blog.port, "/").expect("undisturbed"), "ok");
    bed.end();
}

#[test]
fn ports_tells_who_listens_and_who_waits() {
    let bed = Bed::running();
    let script = r#"
listener = create_server(("", PORT), backlog=7)
time.sleep(900)
"#;
    let app = python(&bed, "shop", script, "");
    let status = bed.start(&app);
    let idle = bed.app("idle");
    bed.probe(&idle, "");
    let waiting: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect(("127.0.0.1", app.port)).expect("it waits"))
        .collect();
    bed.ok(&["start", "--no-wait", "idle"]);
    bed.ok(&["stop", "idle"]);
    let ports: Value = serde_json::from_str(&bed.ok(&["ports", "--json"])).expect("JSON");
    let line = |name: &str| {
        let lines = ports["ports"].as_array().expect("a list");
        lines.iter().find(|line| line["environment"] == name).expect("its line").clone()
    };
    let shop = line("shop");
    assert_eq!((&shop["state"], &shop["pid"]), (&"held".into(), &status["pid"]), "{ports:#}");
    assert_eq!((&shop["queue"], &shop["backlog"]), (&3.into(), &7.into()), "{ports:#}");
    assert_eq!((&shop["program"], &shop["processes"]), (&"python3".into(), &1.into()));
    let idle = line("idle");
    assert_eq!((&idle["state"], &idle["pid"]), (&"reserved".into(), &Value::Null), "{ports:#}");
    let table = bed.ok(&["ports"]);
    assert!(table.contains("3 / 7"), "{table}");
    drop(waiting);

    // Once it takes them they are accepted; the count goes on when the app, its monitor or both are others.
    assert_eq!((&shop["accepted"], &idle["accepted"]), (&0.into(), &0.into()), "{ports:#}");
    let counted = |app: &App, wanted: u64| {
        let ports: Value =
            serde_json::from_str(&bed.ok(&["ports", &app.name, "--json"])).expect("JSON");
        let line = &ports["ports"][0];
        assert_eq!(line["accepted"], wanted, "{ports:#}");
        assert!(
            line["accepted_since"].as_str().is_some_and(|at| at.starts_with("20")),
            "{ports:#}"
        );
    };
    let server = r#"
listener = create_server(("", PORT))
while True:
    client, _ = listener.accept()
    client.recv(1000)
    client.sendall(b"HTTP/1.0 200 OK\r\n\r\nok")
    client.close()
"#;
    let takes = python(&bed, "takes", server, "");
    bed.start(&takes);
    for _ in 0..5 {
        get(takes.port, "/").expect("it answers");
    }
    counted(&takes, 5);
    bed.ok(&["restart", "takes"]);
    get(takes.port, "/").expect("it answers");
    counted(&takes, 6);
    bed.ok(&["stop", "takes"]);
    get(takes.port, "/").expect_err("nobody is there");
    counted(&takes, 6);
    bed.start(&takes);
    get(takes.port, "/").expect("it answers");
    counted(&takes, 7);
    bed.end();
}

#[test]
fn a_storm_of_calls_hangs_nobody_and_no_other_environment_feels_it() {
    let bed = Bed::running();
    let blog = bed.app("blog");
    bed.probe(&blog, "");
    let before = bed.start(&blog);
    let script = r#"
listener = create_server(("", PORT))
def storm():
    for _ in range(200):
        with tcp() as s:
            s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            outcome(lambda: (s.bind(("", PORT)), s.listen()))
        with tcp() as s:
            outcome(s.listen)
threads = [threading.Thread(target=storm) for _ in range(100)]
for thread in threads: thread.start()
for thread in threads: thread.join()
say("over")
serve(listener)
"#;
    let app = python(&bed, "shop", script, "");
    let status = bed.start(&app);
    for _ in 0..20 {
        assert_eq!(get(blog.port, "/").expect("undisturbed"), "ok");
    }
    says(&bed, &app, 1);
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    assert_eq!(bed.status(&app)["pid"], status["pid"]);
    assert_eq!(bed.status(&blog)["pid"], before["pid"]);
    // Sockets that were closed are not held.
    let monitor = status["monitor_pid"].as_i64().expect("known");
    kernel::until("nothing is kept of it", || kernel::descriptors(monitor) < 60 + KEPT);
    bed.end();
}

#[test]
fn what_an_app_closes_on_purpose_is_let_go() {
    let bed = Bed::running();
    let script = r#"
import signal
listener = create_server(("", PORT))
signal.signal(signal.SIGUSR1, lambda *_: listener.close())
say("up")
while True: time.sleep(900)
"#;
    let app = python(&bed, "shop", script, "");
    let status = bed.start(&app);
    says(&bed, &app, 1);
    let app_pid = rustix::process::Pid::from_raw(pid(&status)).expect("a pid");
    rustix::process::kill_process(app_pid, rustix::process::Signal::USR1).expect("it is ours");
    kernel::until("nobody waits for it any more", || {
        std::net::TcpStream::connect(("127.0.0.1", app.port))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    let warnings = kernel::events(&bed, &app, "warning");
    let text = warnings.last().expect("a warning")["text"].as_str().expect("a text");
    assert!(text.contains(&format!("closed its listening socket on port {}", app.port)), "{text}");
    assert_eq!(bed.status(&app)["pid"], status["pid"], "it runs on");
    bed.end();
}

#[test]
fn an_app_that_ends_over_a_refused_port_is_told_of() {
    let bed = Bed::running();
    let app = bed.app("shop");
    let script = app.home.join("app.js");
    fs::write(&script, "require('http').createServer().listen(4567)").expect("our own folder");
    bed.profile(&app, &["node", script.to_str().expect("plain")], "");
    bed.swrun(&["start", "shop"]);
    let status =
        bed.until(&app, "it has crashed", |status| status["last_exit"]["cause"] == "crash");
    let detail = status["last_exit"]["detail"].as_str().expect("a text");
    assert!(detail.contains("refused port 4567/tcp") && detail.contains("\"ports\""), "{detail}");
    bed.end();
}

/// A call that is interrupted before it is taken up is no end of all calls.
#[test]
fn signals_take_listen_from_nobody() {
    let bed = Bed::running();
    let script = r#"
import signal
listener = create_server(("", PORT))
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
got = set()
for _ in range(3000):
    got.add(outcome(lambda: listener.listen(64)))
signal.setitimer(signal.ITIMER_REAL, 0)
# Threads that die with their call on the way.
for _ in range(200):
    child = os.fork()
    if child == 0:
        for _ in range(8): threading.Thread(target=lambda: [listener.listen(64) for _ in range(50)], daemon=True).start()
        os._exit(0)
    os.waitpid(child, 0)
# EINTR: a signal without SA_RESTART, before the monitor had taken the call up.
say(got <= {"ok", "EINTR"}, outcome(lambda: listener.listen(64)))
serve(listener)
"#;
    let app = python(&bed, "shop", script, "");
    let status = bed.start(&app);
    assert_eq!(says(&bed, &app, 1), ["True ok"]);
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    assert_eq!(bed.status(&app)["pid"], status["pid"]);
    bed.end();
}

#[test]
fn more_sockets_than_can_be_held_listen_all_the_same() {
    let bed = Bed::running();
    let script = r#"
listeners = []
for number in range(1, 200):
    listener = tcp(); listener.bind((f"127.0.0.{number}", PORT)); listener.listen()
    listeners.append(listener)
say(len(listeners))
serve(listeners[0])
"#;
    let app = python(&bed, "shop", script, "");
    let status = bed.start(&app);
    assert_eq!(says(&bed, &app, 1), ["199"]);
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    let monitor = status["monitor_pid"].as_i64().expect("known");
    assert!(kernel::descriptors(monitor) < 120 + KEPT, "{}", kernel::descriptors(monitor));
    let warnings = kernel::events(&bed, &app, "warning");
    let text = warnings.last().expect("a warning")["text"].as_str().expect("a text");
    assert!(text.contains("more than 64 sockets"), "{text}");
    bed.end();
}
