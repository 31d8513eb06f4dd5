//! What the kernel says of a socket: options that nix and rustix lack.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};

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
    /// Where it is bound, of stream sockets of IPv4 and IPv6; port 0 where it is not.
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
    let is_internet = [AddressFamily::INET, AddressFamily::INET6].contains(&domain)
        && sockopt::socket_type(socket)? == SocketType::STREAM;
    let address = if is_internet {
        Some(rustix::net::getsockname(socket)?.try_into().map_err(|_| io::ErrorKind::InvalidData)?)
    } else {
        None
    };
    Ok(Socket {
        address,
        is_v6_only: is_internet && domain == AddressFamily::INET6 && sockopt::ipv6_v6only(socket)?,
        cookie: sockopt::socket_cookie(socket)?,
        shares: is_internet && sockopt::socket_reuseport(socket)?,
        inode: rustix::fs::fstat(socket)?.st_ino,
    })
}

/// Closes a socket that an app has had in its hands: without SO_LINGER, with which it could make its last
/// holder wait in close(2) for as long as it likes (socket(7)).
pub fn close(socket: OwnedFd) {
    // Not a TCP socket, or a dead one: then nothing lingers.
    let _ = sockopt::set_socket_linger(&socket, None);
    drop(socket);
}

/// How many connections wait to be accepted by a socket that listens, and how many may (tcp(7),
/// `TCP_INFO`: `tcpi_unacked` and `tcpi_sacked` of such a socket).
///
/// # Errors
/// getsockopt(2).
pub fn queue(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // JUSTIFICATION: neither nix nor rustix has this option.
    // SAFETY: the kernel writes at most `length` bytes into `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.tcpi_unacked, info.tcpi_sacked))
}

/// A random number, as classic BPF loads it.
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();

/// Sends new connections of the whole SO_REUSEPORT group of `socket` to `count` of its members, from
/// member `first` on, in the order in which they began to listen (socket(7), `SO_ATTACH_REUSEPORT_CBPF`).
/// Where there are no such members, the kernel chooses as always.
///
/// # Errors
/// setsockopt(2).
pub fn steer(socket: BorrowedFd<'_>, first: u32, count: u32) -> io::Result<()> {
    let step = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    // A random number, modulo, plus, return.
    let code = [step(0x20, RANDOM), step(0x94, count.max(1)), step(0x04, first), step(0x16, 0)];
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_ptr().cast_mut() };
    set(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Sends new connections of the whole SO_REUSEPORT group of `socket` to its first `count` members, but
/// those from `probe` to the one after them.
///
/// # Errors
/// setsockopt(2).
pub fn steer_past(socket: BorrowedFd<'_>, count: u32, probe: Ipv4Addr) -> io::Result<()> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // The source address in the IPv4 header; of IPv6 some part of it, which is no loopback address.
    const SOURCE: u32 = (libc::SKF_NET_OFF + 12).cast_unsigned();
    let code = [
        step(0x20, 0, 0, SOURCE),
        step(0x15, 0, 1, u32::from(probe)),
        step(0x06, 0, 0, count),
        step(0x20, 0, 0, RANDOM),
        step(0x94, 0, 0, count.max(1)),
        step(0x16, 0, 0, 0),
    ];
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_ptr().cast_mut() };
    set(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// The kernel chooses again.
///
/// # Errors
/// setsockopt(2): there was no such program (`ENOENT`).
pub fn steer_no_more(socket: BorrowedFd<'_>) -> io::Result<()> {
    const SO_DETACH_REUSEPORT_BPF: libc::c_int = 68;
    set(socket, SO_DETACH_REUSEPORT_BPF, &0_i32)
}

fn set<T>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    // JUSTIFICATION: neither nix nor rustix has these options.
    // SAFETY: the kernel reads the value, of the size given, and what it points to, during the call only.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Turns this network namespace's loopback on (netdevice(7), `SIOCSIFFLAGS`).
///
/// # Errors
/// ioctl(2).
pub fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the kernel reads one request of this size.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
