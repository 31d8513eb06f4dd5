//! Whom an app reaches, seen from inside: ports of other environments and the secrets of clouds by default not,
//! with a declaration nothing else, in a private network nothing at all.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;
#[path = "common/scripts.rs"]
mod scripts;

use std::net::{TcpListener, UdpSocket};

use bed::{App, Bed};
use scripts::{python, says};

/// `reach(port, …)` gives "ok" or the errno of a connection; `send(port, …)` of a datagram.
const REACH: &str = r#"
OTHER, HOST = int(os.environ["OTHER"]), int(os.environ["HOST_PORT"])
def reach(port, host="127.0.0.1", family=AF_INET, proto=0):
    try:
        s = socket(family, SOCK_STREAM, proto)
    except OSError:
        return "none"
    with s:
        s.settimeout(2)
        try:
            s.connect((host, port))
            return "ok"
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return errno.errorcode[error.errno]
def send(port, host="127.0.0.1", family=AF_INET):
    with socket(family, SOCK_DGRAM) as s:
        return outcome(lambda: s.sendto(b"x", (host, port)))
"#;

struct Host {
    /// Listens on the host, and is no environment's.
    listener: TcpListener,
    datagrams: UdpSocket,
}

impl Host {
    fn new() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let datagrams = UdpSocket::bind(("0.0.0.0", port)).expect("a free port");
        Self { listener, datagrams }
    }

    fn port(&self) -> u16 {
        assert!(self.datagrams.local_addr().is_ok());
        self.listener.local_addr().expect("bound").port()
    }
}

/// Two environments: `victim` serves, `shop` runs the script and then serves too.
fn shop(bed: &Bed, host: &Host, script: &str, section: &str) -> (App, App) {
    let victim = python(bed, "victim", "serve()", "");
    bed.start(&victim);
    let app = python(bed, "shop", &format!("{REACH}{script}\nserve()"), "");
    let path = bed.profile_path(&app);
    let text = std::fs::read_to_string(&path).expect("just written");
    let variables = format!("OTHER = \"{}\"\nHOST_PORT = \"{}\"\n", victim.port, host.port());
    std::fs::write(&path, format!("{text}{variables}{section}")).expect("our own file");
    (app, victim)
}

#[test]
fn other_environments_and_the_secrets_of_clouds_are_out_of_reach() {
    let bed = Bed::running();
    let host = Host::new();
    let script = r#"
say(reach(OTHER), reach(OTHER, "127.0.0.9"), reach(OTHER, "0.0.0.0"))
say(reach(OTHER, "::ffff:127.0.0.1", AF_INET6), reach(OTHER, "::1", AF_INET6), reach(OTHER, proto=262))
say(reach(HOST), send(HOST), send(OTHER))
say(reach(80, "169.254.169.254"), send(80, "169.254.169.254"), send(80, "fd00:ec2::254", AF_INET6))
say(reach(53, "169.254.169.254"), reach(81, "192.0.2.1"))
listener = create_server(("", PORT))
forever = serve
def serve():
    forever(listener)
def own():
    say(reach(PORT))
threading.Thread(target=own).start()
"#;
    let (app, victim) = shop(&bed, &host, script, "");
    bed.start(&app);
    let said = says(&bed, &app, 6);
    assert_eq!(said[0], "EACCES EACCES EACCES");
    // A guest kernel has no MPTCP.
    let mptcp = if bed::is_guest() { "none" } else { "EACCES" };
    assert_eq!(said[1], format!("EACCES EACCES {mptcp}"));
    // Datagrams: a port of its own, which nobody owns.
    assert_eq!(said[2], "ok ok ok");
    assert_eq!(said[3], "EACCES EACCES EACCES");
    // Nothing leads out of the bed's network namespace.
    assert_eq!(said[4], "ENETUNREACH ENETUNREACH");
    assert_eq!(said[5], "ok");
    let events = kernel::events(&bed, &app, "refused-connection");
    let to: Vec<&str> = events.iter().filter_map(|event| event["to"].as_str()).collect();
    assert!(to.contains(&&*format!("127.0.0.1:{}", victim.port)), "{to:?}");
    assert!(to.contains(&"169.254.169.254:80"), "{to:?}");
    let shown = bed.ok(&["show", "shop"]);
    assert!(shown.contains("a connection to 169.254.169.254:80/tcp was refused"), "{shown}");
    bed.end();
}

/// An address that the host gets later is this host's too, and what is sent to all reaches no other environment.
#[test]
fn neither_a_new_address_nor_one_of_all_leads_around() {
    let bed = Bed::running();
    let host = Host::new();
    let script = r#"
say("up")
while "10.99.0.1" not in open("/proc/net/fib_trie").read(): time.sleep(0.01)
# Until the runner has heard of it.
for _ in range(500):
    if reach(OTHER, "10.99.0.1") == "EACCES": break
    time.sleep(0.01)
say(reach(OTHER, "10.99.0.1"), reach(HOST, "10.99.0.1"))
with socket(AF_INET, SOCK_DGRAM) as s:
    s.setsockopt(SOL_SOCKET, SO_BROADCAST, 1)
    say(outcome(lambda: s.sendto(b"x", ("224.0.0.1", OTHER))), outcome(lambda: s.sendto(b"x", ("255.255.255.255", OTHER))))
say(outcome(lambda: socket(AF_INET, SOCK_DGRAM, 1)))
"#;
    let (app, victim) = shop(&bed, &host, script, "");
    // The victim's UDP port of the same number is its own too.
    let path = bed.profile_path(&victim);
    let text = std::fs::read_to_string(&path).expect("just written");
    let ports = format!("ports = [{}]", victim.port);
    let both = format!("ports = [{0}, \"{0}/udp\"]", victim.port);
    std::fs::write(&path, text.replace(&ports, &both)).expect("our own file");
    bed.ok(&["restart", "victim"]);
    bed.ok(&["start", "--no-wait", "shop"]);
    says(&bed, &app, 1);
    let added = std::process::Command::new("ip")
        .args(["addr", "add", "10.99.0.1/32", "dev", "lo"])
        .status();
    assert!(added.is_ok_and(|status| status.success()), "ip: install iproute2");
    let said = says(&bed, &app, 4);
    assert_eq!(said[1..], ["EACCES ok", "EACCES EACCES", "EAFNOSUPPORT"]);
    bed.end();
}

/// A name that somebody else may lead anywhere opens no port of another environment.
#[test]
fn what_is_not_written_out_opens_no_other_environment() {
    let bed = Bed::running();
    let host = Host::new();
    let script =
        "say(reach(OTHER), reach(HOST), reach(80, '169.254.169.254'), reach(OTHER, '192.0.2.1'))";
    let (app, victim) = shop(&bed, &host, script, "");
    let path = bed.profile_path(&app);
    let text = std::fs::read_to_string(&path).expect("just written");
    let section = format!(
        "[network]\nconnect = \"declared\"\nallow-connect = [\"*:{}\", \"*:{}\", \"*:80\"]\n",
        victim.port,
        host.port()
    );
    std::fs::write(&path, format!("{text}{section}")).expect("our own file");
    bed.start(&app);
    assert_eq!(says(&bed, &app, 1), ["EACCES ok EACCES ENETUNREACH"]);
    bed.end();
}

#[test]
fn a_profile_that_allows_another_environment_reaches_it() {
    let bed = Bed::running();
    let host = Host::new();
    let (app, victim) = shop(&bed, &host, "say(reach(OTHER), reach(OTHER, '127.0.0.9'))", "");
    let path = bed.profile_path(&app);
    let text = std::fs::read_to_string(&path).expect("just written");
    let section = format!("[network]\nallow-connect = [\"localhost:{}\"]\n", victim.port);
    std::fs::write(&path, format!("{text}{section}")).expect("our own file");
    bed.start(&app);
    assert_eq!(says(&bed, &app, 1), ["ok EACCES"]);
    // And when its profile has it no more, it reaches it no more.
    std::fs::write(&path, text).expect("our own file");
    bed.ok(&["restart", "shop"]);
    assert_eq!(says(&bed, &app, 2)[1], "EACCES EACCES");
    bed.end();
}

#[test]
fn with_a_declaration_it_reaches_nothing_else() {
    let bed = Bed::running();
    let host = Host::new();
    let script = r#"
say(reach(HOST), send(HOST), reach(HOST + 1), reach(OTHER))
say(reach(443, "192.0.2.1"), reach(80, "192.0.2.1"), reach(22, "10.1.2.3"), reach(22, "11.1.2.3"))
say(reach(443, "2001:db8::1", AF_INET6), reach(80, "2001:db8::1", AF_INET6), send(53, "192.0.2.1"))
listener = create_server(("", PORT))
forever = serve
def serve():
    forever(listener)
def own():
    one, other = socketpair()
    say(reach(PORT), outcome(lambda: one.send(b"x")))
threading.Thread(target=own).start()
"#;
    let section = format!(
        "[network]\nconnect = \"declared\"\nallow-connect = [\"localhost:{}\", \"*:443\", \"10.0.0.0/8:22\"]\n",
        host.port()
    );
    let (app, _) = shop(&bed, &host, script, &section);
    bed.start(&app);
    let said = says(&bed, &app, 4);
    assert_eq!(said[0], "ok ok EACCES EACCES");
    assert_eq!(said[1], "ENETUNREACH EACCES ENETUNREACH EACCES");
    assert_eq!(said[2], "ENETUNREACH EACCES EACCES");
    assert_eq!(said[3], "ok ok");
    bed.end();
}

/// An instance that serves is refused nothing by the start of another, be the list the same or a longer one.
#[test]
fn a_reload_refuses_nothing_to_those_that_run() {
    let bed = Bed::running();
    let host = Host::new();
    let script = r#"
import signal
refused = sent = 0
def end(*_):
    say(refused, "refused of some" if sent > 100 else "too few")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
def load():
    global refused, sent
    with socket(AF_INET, SOCK_DGRAM) as s:
        while True:
            sent += 1
            try:
                s.sendto(b"x", ("127.0.0.1", HOST))
            except PermissionError:
                refused += 1
threading.Thread(target=load, daemon=True).start()
"#;
    let (app, _) = shop(&bed, &host, script, "");
    let path = bed.profile_path(&app);
    let text = std::fs::read_to_string(&path).expect("just written");
    // Many others, so that a list told anew from its beginning would be seen.
    let others: String = (1..100).map(|port| format!("\"192.0.2.1:{port}\", ")).collect();
    let with = |last: &str| {
        let list = format!("[{others}\"localhost:{}\"{last}]", host.port());
        let section = format!("[network]\nconnect = \"declared\"\nallow-connect = {list}\n");
        std::fs::write(&path, format!("{text}{section}")).expect("our own file");
    };
    with("");
    bed.start(&app);
    for round in 0..6 {
        with(if round % 4 < 2 { ", \"10.0.0.0/8:22\"" } else { "" });
        bed.ok(&["reload", "shop"]);
    }
    assert_eq!(says(&bed, &app, 6)[..6], ["0 refused of some"; 6]);
    bed.end();
}

#[test]
fn a_private_network_has_loopback_alone() {
    let bed = Bed::running();
    let host = Host::new();
    let app = bed.app("worker");
    let script = r#"
import os, socket
def reach(port, host="127.0.0.1"):
    with socket.socket() as s:
        return s.connect_ex((host, port))
with socket.create_server(("127.0.0.1", 0)) as own:
    print(reach(int(os.environ["HOST_PORT"])), reach(80, "192.0.2.1"), reach(own.getsockname()[1]))
print(sorted(name for _, name in socket.if_nameindex()), flush=True)
import time; time.sleep(900)
"#;
    let file = app.home.join("worker.py");
    std::fs::write(&file, script).expect("our own folder");
    let more = format!("[env]\nHOST_PORT = \"{}\"\n[network]\nmode = \"private\"\n", host.port());
    bed.profile(&app, &["/usr/bin/python3", file.to_str().expect("plain")], &more);
    bed.start(&app);
    let said = says(&bed, &app, 2);
    assert_eq!(said, [format!("{} {} 0", libc::ECONNREFUSED, libc::ENETUNREACH), "['lo']".into()]);
    bed.end();
}
