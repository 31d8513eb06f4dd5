//! Where an app says that it is ready, if it is to: a channel as Node gives to its children, or a socket for
//! `sd_notify(3)` in its own `/tmp`, which no other process of the host reaches. The monitor listens.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The number of the channel in the app: the first behind its standard streams.
pub const DESCRIPTOR: &str = "3";

/// The socket, in the cage.
pub const SOCKET: &str = "/tmp/.swrun-ready";

/// A channel: the monitor's end and the app's.
///
/// # Errors
/// socketpair(2).
pub fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

/// Leaves the app's end open for it over the exec.
///
/// # Errors
/// fcntl(2).
pub fn leave(theirs: OwnedFd) -> io::Result<()> {
    rustix::io::fcntl_setfd(theirs.as_fd(), FdFlags::empty())?;
    std::mem::forget(theirs);
    Ok(())
}

/// The socket, bound in the cage that stands around this process; the app may write to it.
///
/// # Errors
/// socket(2), bind(2) or chmod(2).
pub fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(SOCKET)?)?;
    rustix::fs::chmod(SOCKET, Mode::from_raw_mode(0o666))?;
    Ok(socket)
}
