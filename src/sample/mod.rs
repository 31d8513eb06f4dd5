//! The sample backend of `swrun demo`: a small HTTP/1.1 server that can leak, crash and burn.
//!
//! It stands in for a real app, so it is written like one: it knows nothing of swrun, takes its port
//! from `PORT`, logs to stdout, and ends on SIGTERM once the requests in hand are answered.
#![forbid(unsafe_code)]

mod answer;
mod memory;
mod request;
mod serve;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net;

pub use serve::{Options, serve};

/// The hidden role's word.
pub const ROLE: &str = "__sample";

/// Connections that the kernel queues while all threads are busy (cut to `somaxconn`).
const BACKLOG: i32 = 1024;

/// Serves on `0.0.0.0:$PORT` until SIGTERM; exit code 0 then, 1 when it could not start.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be left to read it; the exit code tells the same.
            let _ = writeln!(io::stderr(), "sample: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    // Before any thread exists, so that all of them inherit the mask and SIGTERM waits in the
    // descriptor. The descriptor is polled and never read: it stays ready for every thread.
    let signals = SigSet::from(Signal::SIGTERM);
    signals.thread_block().map_err(|errno| format!("could not block SIGTERM: {errno}"))?;
    let stop = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)
        .map_err(|errno| format!("could not make a descriptor for SIGTERM: {errno}"))?;

    let text = std::env::var("PORT").map_err(|_| "PORT is not set: give it a port".to_owned())?;
    let port = port_of(&text)?;
    let listener =
        listen(port).map_err(|error| format!("could not listen on port {port}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    say(&format!("listening on {address}, pid {}", std::process::id()));

    let answered = serve(&listener, stop.as_fd(), &Options::default())
        .map_err(|error| format!("could not serve on {address}: {error}"))?;
    say(&format!("ended by SIGTERM after {answered} requests"));
    Ok(())
}

fn port_of(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("PORT is {text:?}: it must be a number from 0 to 65535"))
}

/// The listening socket, with one `listen(2)` (std's backlog of 128 is short of 200 at once).
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = net::socket_with(
        net::AddressFamily::INET,
        net::SocketType::STREAM,
        net::SocketFlags::CLOEXEC,
        None,
    )?;
    // As std and Node do: a restart must not wait for the connections of its predecessor.
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A line to stdout. A log that nobody reads any more is no reason to end (`println!` panics).
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_of_sixteen_bits() {
        assert_eq!(port_of("3000"), Ok(3000));
        for bad in ["", "http", "-1", "65536", " 3000", "3000\n"] {
            assert!(port_of(bad).is_err_and(|e| e.contains("PORT")), "{bad:?}");
        }
    }

    #[test]
    fn a_taken_port_is_refused() {
        let first = listen(0).unwrap();
        let port = first.local_addr().unwrap().port();
        assert_eq!(listen(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
