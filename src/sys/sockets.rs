//! What the kernel says of a socket: options that nix and rustix lack.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::net::{AddressFamily, sockopt};

/// The number of the network namespace of a socket (socket(7), `SO_NETNS_COOKIE`, since Linux 5.14).
///
/// # Errors
/// getsockopt(2).
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie: u64 = 0;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // JUSTIFICATION: neither nix nor rustix has this option.
    // SAFETY: the kernel writes at most `length` bytes into `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// What the kernel says of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Where it is bound, of IPv4 and IPv6; port 0 where it is not.
    pub address: Option<SocketAddr>,
    /// An IPv6 socket that takes no IPv4 connections.
    pub is_v6_only: bool,
    /// The kernel's own number of it; no other of this boot has it.
    pub cookie: u64,
    /// SO_REUSEPORT.
    pub shares: bool,
    /// The number of its inode, as `/proc/PID/fd` shows it.
    pub inode: u64,
}

/// Looks at a socket.
///
/// # Errors
/// getsockopt(2): `ENOTSOCK` for what is none.
pub fn look(socket: BorrowedFd<'_>) -> io::Result<Socket> {
    let domain = sockopt::socket_domain(socket)?;
    let is_internet = [AddressFamily::INET, AddressFamily::INET6].contains(&domain);
    let address = if is_internet {
        Some(rustix::net::getsockname(socket)?.try_into().map_err(|_| io::ErrorKind::InvalidData)?)
    } else {
        None
    };
    Ok(Socket {
        address,
        is_v6_only: domain == AddressFamily::INET6 && sockopt::ipv6_v6only(socket)?,
        cookie: sockopt::socket_cookie(socket)?,
        shares: is_internet && sockopt::socket_reuseport(socket)?,
        inode: rustix::fs::fstat(socket)?.st_ino,
    })
}
