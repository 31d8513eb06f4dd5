//! A child that goes on with Rust code: only for init, which is single-threaded and tiny.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::spawn::CloneArgs;

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Fork {
    /// The parent, with the child's pid and a descriptor for it.
    Parent {
        /// In the parent's pid namespace.
        pid: i32,
        /// pidfd_open(2).
        pidfd: OwnedFd,
    },
    /// The child.
    Child,
}

/// Forks; the child is born in the cgroup v2 folder `group`.
///
/// # Errors
/// clone3(2).
///
/// # Panics
/// When the process has more than one thread: the child could find a lock held for ever.
pub fn fork_into(group: BorrowedFd<'_>) -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    assert!(
        threads == 1,
        "fork_into needs a single-threaded process, this one has {threads} threads"
    );
    let mut pidfd: i32 = -1;
    let mut arguments = CloneArgs {
        flags: (libc::CLONE_PIDFD as u64) | CloneArgs::INTO_CGROUP,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: u64::try_from(group.as_raw_fd()).unwrap_or(u64::MAX),
        ..CloneArgs::default()
    };
    // JUSTIFICATION: std and nix cannot place a child in a cgroup at birth.
    // SAFETY: without CLONE_VM the child has its own copy of the memory, and as this is the only
    // thread (asserted) every lock in that copy is free: the child may run any code. The arguments
    // and `pidfd` live across the call.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => {
            // SAFETY: the kernel has just made this descriptor for this process.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent { pid: i32::try_from(pid).unwrap_or(-1), pidfd })
        }
    }
}
