//! Descriptors that cross an exec.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of descriptor `number`, handed over by the process that executed this one,
/// and marks it close-on-exec.
///
/// # Errors
/// No such descriptor is open.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // JUSTIFICATION: a descriptor that was inherited exists only as a number.
    // SAFETY: fcntl on a number touches no memory; the descriptor is owned from here on, and each
    // role calls this once for each number at its start, before anything else opens descriptors.
    let descriptor = unsafe {
        if libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) == -1 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(number)
    };
    Ok(descriptor)
}

/// Marks every open descriptor from `first` on close-on-exec (close_range(2)).
///
/// # Errors
/// The kernel is older than 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // JUSTIFICATION: neither nix nor rustix has close_range.
    // SAFETY: the call takes three integers; with CLOEXEC it closes nothing that Rust owns.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
