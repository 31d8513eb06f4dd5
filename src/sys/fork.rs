//! A child that goes on with Rust code, in a copy of this process's memory: for the monitor, which
//! forks an init, and for init, which forks the app. Both have one thread and little memory (an exec of
//! this program would cost half of the whole start, in loading and relocating it: measured).

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::signals;

/// `struct clone_args` of clone3(2).
#[repr(C)]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl CloneArgs {
    const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const INTO_CGROUP: u64 = 0x2_0000_0000;
}

/// The namespaces of an instance that are taken at birth; the cgroup namespace comes later, once
/// the app is in its cgroup.
pub const INSTANCE_NAMESPACES: c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// A child.
#[derive(Debug)]
pub struct Child {
    /// As this process sees it.
    pub pid: i32,
    /// pidfd_open(2).
    pub pidfd: OwnedFd,
}

/// How a child is born.
#[derive(Debug)]
pub struct Birth<'a> {
    /// `CLONE_NEW…` flags.
    pub namespaces: c_int,
    /// The cgroup v2 folder to be born in.
    pub group: BorrowedFd<'a>,
    /// Its whole set of descriptors: they become 0, 1, 2, …; those from 3 on are closed at an exec.
    pub descriptors: &'a [BorrowedFd<'a>],
}

/// Forks. The child has no descriptor but those of `birth`, nothing blocked and no handler; it calls
/// `role` with its descriptors from 3 on, and ends with the status that `role` returns. `role` must use
/// no descriptor that its caller owned: those numbers are closed, or another's.
///
/// # Errors
/// This process has more than one thread (unshare(2), `EINVAL`: in a copy of its memory a lock could be
/// held for ever), or clone3(2).
pub fn fork(
    birth: &Birth<'_>,
    role: impl FnOnce(Vec<OwnedFd>) -> io::Result<u8>,
) -> io::Result<Child> {
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_PIDFD | birth.namespaces;
    let mut arguments = CloneArgs {
        flags: u64::from(flags.cast_unsigned()) | CloneArgs::CLEAR_SIGHAND | CloneArgs::INTO_CGROUP,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: u64::try_from(birth.group.as_raw_fd()).unwrap_or(u64::MAX),
        ..CloneArgs::default()
    };
    // JUSTIFICATION: std and nix can place a child neither in a cgroup nor in namespaces at birth.
    // SAFETY: unshare(CLONE_THREAD) changes nothing, and fails where there is a second thread. So this
    // is the only one, and without CLONE_VM the child has its own copy of the memory, in which every
    // lock is free: it may run any code. The arguments and `pidfd` live across the call.
    let pid = unsafe {
        if libc::unshare(libc::CLONE_THREAD) == -1 {
            return Err(io::Error::last_os_error());
        }
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>())
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = place(birth.descriptors).and_then(role).unwrap_or(125);
            // SAFETY: ends this process and runs nothing: what its copies of the parent's objects
            // would do at their end is the parent's to do.
            unsafe { libc::_exit(i32::from(status)) }
        }
        pid => {
            // SAFETY: the kernel has just made this descriptor for this process.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: i32::try_from(pid).unwrap_or(-1), pidfd })
        }
    }
}

/// Makes `descriptors` the child's only ones; gives those from 3 on.
fn place(descriptors: &[BorrowedFd<'_>]) -> io::Result<Vec<OwnedFd>> {
    signals::unblock_all()?;
    let count = RawFd::try_from(descriptors.len()).unwrap_or(RawFd::MAX);
    let checked = |result: RawFd| {
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
    };
    // SAFETY: calls on numbers, which touch no memory. In this process, the child, no object of the
    // parent's is used or dropped again (see `fork`), so closing and overwriting their numbers takes
    // nothing from anybody; each number from 3 on gets one owner.
    unsafe {
        // First all out of the way, then each to its number: none can overwrite one still needed.
        let mut copies = [-1; 16];
        let copies = copies.get_mut(..descriptors.len()).ok_or(io::ErrorKind::InvalidInput)?;
        for (copy, descriptor) in copies.iter_mut().zip(descriptors) {
            let from = descriptor.as_raw_fd();
            *copy = checked(libc::fcntl(from, libc::F_DUPFD_CLOEXEC, count))?;
        }
        for (number, copy) in (0..).zip(copies.iter()) {
            let flags = if number < 3 { 0 } else { libc::O_CLOEXEC };
            checked(libc::dup3(*copy, number, flags))?;
        }
        if libc::syscall(libc::SYS_close_range, count, RawFd::MAX, 0) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok((3..count).map(|number| OwnedFd::from_raw_fd(number)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_process_with_a_second_thread_does_not_fork() {
        let group = std::fs::File::open("/").expect("there");
        let birth = Birth { namespaces: 0, group: group.as_fd(), descriptors: &[] };
        // The test harness has a thread of its own besides this one.
        let refused = fork(&birth, |_| Ok(0)).expect_err("it has more than one thread");
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    }
}
