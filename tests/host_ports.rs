//! Ports kept from every process of the host: the one test that attaches the program at the root of the v2
//! tree, in a network namespace of its own, for ports above 40000.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

use bed::{App, Bed, get, swrun};
use rustix::net::SocketType;

const PORT: u16 = 41_002;

fn bed() -> Bed {
    let mut bed = Bed::new();
    let mut runner = Command::new("/bin/sh");
    runner.args(["-c", "program=$1; shift; exec \"$program\" \"$@\" --reserve-ports host", "sh"]);
    runner.arg(swrun());
    bed.daemon_by(runner);
    bed
}

fn shop(bed: &Bed) -> App {
    let app = App { port: PORT, ..bed.app("shop") };
    bed.probe(&app, "");
    app
}

/// Root, in no environment: on every address, with every option that could get it in beside another.
#[track_caller]
fn is_kept(is: bool) {
    let addresses: [SocketAddr; 5] = [
        (Ipv4Addr::UNSPECIFIED, PORT).into(),
        (Ipv4Addr::LOCALHOST, PORT).into(),
        (Ipv4Addr::new(127, 0, 0, 2), PORT).into(),
        (Ipv6Addr::UNSPECIFIED, PORT).into(),
        (Ipv6Addr::LOCALHOST, PORT).into(),
    ];
    for address in addresses {
        match bed::bind(SocketType::STREAM, address) {
            Ok(_) => assert!(!is, "{address} is free"),
            // A kernel without IPv6.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(error) => {
                assert!(is && error.raw_os_error() == Some(libc::EACCES), "{address}: {error}")
            }
        }
    }
    bed::bind(SocketType::DGRAM, (Ipv4Addr::UNSPECIFIED, PORT).into())
        .expect("UDP of this number is nobody's");
}

fn setting(name: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/{name}");
    fs::read_to_string(path).expect("readable").trim().to_owned()
}

#[test]
fn a_port_is_kept_from_all_running_or_not() {
    let mut bed = bed();
    is_kept(false);
    let app = shop(&bed);
    bed.start(&app);
    assert_eq!(get(app.port, "/").expect("it serves"), "ok");
    is_kept(true);
    let refused = || kernel::events(&bed, &app, "refused");
    kernel::until("its owner is told", || !refused().is_empty());
    assert!(refused().iter().all(|event| event["stranger"] == true), "{:#?}", refused());

    // A container's port of the same number is its own.
    let script = format!("import socket; socket.create_server((\"\", {PORT})); print(\"bound\")");
    let inside = Command::new("unshare")
        .args(["-n", "/usr/bin/python3", "-c", &script])
        .output()
        .expect("unshare");
    assert_eq!(String::from_utf8_lossy(&inside.stdout).trim(), "bound");

    // An ephemeral port never lands on it.
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    fs::write(range, format!("{} {}", PORT - 4, PORT + 4)).expect("a namespace of our own");
    assert!(setting("ip_local_reserved_ports").split(',').any(|port| port == PORT.to_string()));
    for _ in 0..200 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("some are free");
        assert_ne!(socket.local_addr().expect("bound").port(), PORT);
        let listener = TcpListener::bind("127.0.0.1:0").expect("some are free");
        assert_ne!(listener.local_addr().expect("bound").port(), PORT);
    }

    bed.ok(&["stop", "shop"]);
    is_kept(true);
    assert_eq!(
        get(app.port, "/").expect_err("nobody is to answer").kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    assert_eq!(setting("tcp_migrate_req"), "1");
    bed.ok(&["kill"]);
    bed.wait_for_daemon();
    is_kept(false);
    assert_eq!(
        (setting("tcp_migrate_req").as_str(), setting("ip_local_reserved_ports").as_str()),
        ("0", "")
    );
    bed.end();
}

#[test]
fn a_deleted_environment_gives_its_port_back() {
    let bed = bed();
    let app = shop(&bed);
    bed.start(&app);
    bed.ok(&["stop", "shop"]);
    is_kept(true);
    fs::remove_file(bed.profile_path(&app)).expect("ours");
    bed.ok(&["delete", "shop"]);
    is_kept(false);
    bed.end();
}
