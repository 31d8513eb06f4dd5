//! Who has a port that is not its owner's: looked up in the kernel's socket tables, only when a port is
//! taken.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use procfs::process::FDTarget;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::model::{Port, Protocol};

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// As the host sees it.
    pub pid: i32,
    /// Its name: the program's own text.
    pub program: String,
    /// Its user.
    pub uid: u32,
    /// Its group in the cgroup v2 tree.
    pub cgroup: Option<String>,
}

/// Whether somebody has `port` on any address, so that it cannot be bound on all. Connections of the past
/// that the kernel keeps for a while are in nobody's way.
#[must_use]
pub fn is_taken(port: Port) -> bool {
    let all: [SocketAddr; 2] =
        [(Ipv4Addr::UNSPECIFIED, port.port).into(), (Ipv6Addr::UNSPECIFIED, port.port).into()];
    let is_taken = |address: &SocketAddr| -> rustix::io::Result<bool> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = match port.proto {
            Protocol::Tcp => SocketType::STREAM,
            Protocol::Udp => SocketType::DGRAM,
        };
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        if port.proto == Protocol::Tcp {
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        Ok(bind(&socket, address) == Err(rustix::io::Errno::ADDRINUSE))
    };
    // A host without IPv6 has no such address.
    all.iter().any(|address| is_taken(address).unwrap_or(false))
}

/// A process that has a socket on `port`; `None` where none can be found (it is bound and does not
/// listen, or the process went).
///
/// # Errors
/// The kernel's tables could not be read.
pub fn holder(port: Port) -> io::Result<Option<Holder>> {
    let inodes = inodes(port).map_err(io::Error::other)?;
    let has_one = |process: &procfs::process::Process| {
        process.fd().is_ok_and(|all| {
            all.flatten().any(|descriptor| {
                matches!(descriptor.target, FDTarget::Socket(inode) if inodes.contains(&inode))
            })
        })
    };
    if inodes.is_empty() {
        return Ok(None);
    }
    let all = procfs::process::all_processes().map_err(io::Error::other)?;
    let found = all.flatten().find(has_one);
    Ok(found.and_then(|process| {
        let groups = process.cgroups().ok();
        let unified = |groups: procfs::ProcessCGroups| {
            groups.into_iter().find(|group| group.hierarchy == 0).map(|group| group.pathname)
        };
        Some(Holder {
            pid: process.pid,
            program: process.stat().ok()?.comm,
            uid: process.uid().ok()?,
            cgroup: groups.and_then(unified),
        })
    }))
}

/// The sockets on `port`; of TCP those that listen.
fn inodes(port: Port) -> procfs::ProcResult<Vec<u64>> {
    Ok(match port.proto {
        Protocol::Tcp => {
            let all =
                procfs::net::tcp()?.into_iter().chain(procfs::net::tcp6().unwrap_or_default());
            all.filter(|socket| socket.state == procfs::net::TcpState::Listen)
                .filter(|socket| socket.local_address.port() == port.port)
                .map(|socket| socket.inode)
                .collect()
        }
        Protocol::Udp => {
            let all =
                procfs::net::udp()?.into_iter().chain(procfs::net::udp6().unwrap_or_default());
            all.filter(|socket| socket.local_address.port() == port.port)
                .map(|socket| socket.inode)
                .collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        for (listener, is_v6) in [
            (std::net::TcpListener::bind("127.0.0.1:0"), false),
            (std::net::TcpListener::bind("[::1]:0"), true),
        ] {
            let Ok(listener) = listener else {
                assert!(is_v6, "IPv4 is everywhere");
                continue;
            };
            let number = listener.local_addr().expect("bound").port();
            let port = Port { port: number, proto: Protocol::Tcp };
            assert!(is_taken(port));
            let found = holder(port).expect("readable").expect("it is this process");
            assert_eq!(found.pid.cast_unsigned(), std::process::id());
            assert_eq!(found.uid, rustix::process::getuid().as_raw());
            assert!(!is_taken(Port { proto: Protocol::Udp, ..port }), "another protocol");
            drop(listener);
            assert!(!is_taken(port));
        }
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a free port");
        let number = socket.local_addr().expect("bound").port();
        let port = Port { port: number, proto: Protocol::Udp };
        assert!(is_taken(port));
        assert!(holder(port).expect("readable").is_some());
    }
}
