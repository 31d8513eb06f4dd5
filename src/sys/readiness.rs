//! Descriptors in tokio's poll loop.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a descriptor that is owned by the result.
///
/// # Errors
/// epoll_ctl(2).
pub fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // JUSTIFICATION: tokio has no safe form for a type whose `AsRawFd` it cannot trust.
    // SAFETY: `OwnedFd` always gives the same descriptor, and keeps it open until the registration,
    // which owns it, is dropped.
    let registered = unsafe { AsyncFd::register(descriptor) };
    registered.map_err(|error| error.into_parts().1)
}
