//! seccomp user notification: a system call of another process is answered by this one.
//!
//! Source: seccomp(2), seccomp_unotify(2); Linux, include/uapi/linux/seccomp.h.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// One instruction of a filter (`struct sock_filter`).
pub type Filter = libc::sock_filter;

/// Installs `filter` on this thread, which cannot be undone, and gives the descriptor on which its
/// notifications come. The process must have `no_new_privs`.
///
/// # Errors
/// seccomp(2): `EBUSY` where another filter of this process has a listener already.
pub fn install(filter: &[Filter]) -> io::Result<OwnedFd> {
    // Since Linux 5.19: a call that was taken up is not interrupted by a signal, and so not made twice.
    const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
    let install = |flags| install_with(filter, flags);
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let descriptor = match install(flags | WAIT_KILLABLE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install(flags)?,
        result => result?,
    };
    // SAFETY: seccomp(2) has just made this descriptor for this process, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The same, without notifications.
///
/// # Errors
/// seccomp(2).
pub fn install_silent(filter: &[Filter]) -> io::Result<()> {
    install_with(filter, 0).map(drop)
}

fn install_with(filter: &[Filter], flags: libc::c_ulong) -> io::Result<i32> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // JUSTIFICATION: neither nix nor rustix has seccomp(2) with a listener.
    // SAFETY: the kernel reads the program, of the length given, during the call only.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    id: u64,
    /// The thread that made it, as this process sees it.
    pub thread: i32,
    /// Its number, in the table of `architecture`.
    pub number: i32,
    /// `AUDIT_ARCH_…`.
    pub architecture: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// `_IOWR('!', 0, struct seccomp_notif)` and its two kin.
const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
const IS_VALID: libc::Ioctl = 0x4008_2102;

/// What a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A call that can be taken.
    Call,
    /// None: the one that was there was interrupted, or its thread died.
    Nothing,
    /// None any more: the last process that has the filter has ended.
    Ended,
}

/// Looks without waiting.
#[must_use]
pub fn waiting(listener: BorrowedFd<'_>) -> Waiting {
    let mut polled = [PollFd::new(&listener, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = rustix::event::poll(&mut polled, Some(&now));
    let found = polled[0].revents();
    if found.contains(PollFlags::IN) {
        Waiting::Call
    } else if found.intersects(PollFlags::HUP | PollFlags::ERR) {
        Waiting::Ended
    } else {
        Waiting::Nothing
    }
}

/// Takes the next call; `None` where it was interrupted meanwhile.
///
/// # Errors
/// ioctl(2). It waits where there is none: poll first.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Call>> {
    // SAFETY: plain numbers, for which zero is a value; the kernel wants it zeroed.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one notification of this size.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut notification) };
    if result == -1 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR) => Ok(None),
            _ => Err(error),
        };
    }
    Ok(Some(Call {
        id: notification.id,
        thread: notification.pid.cast_signed(),
        number: notification.data.nr,
        architecture: notification.data.arch,
        arguments: notification.data.args,
    }))
}

/// Answers: the call returns 0, or fails with `errno`. One whose caller died is no error.
///
/// # Errors
/// ioctl(2).
pub fn answer(listener: BorrowedFd<'_>, call: &Call, errno: i32) -> io::Result<()> {
    let mut response =
        libc::seccomp_notif_resp { id: call.id, val: 0, error: -errno.abs(), flags: 0 };
    // SAFETY: the kernel reads one response of this size.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut response) };
    match io::Error::last_os_error() {
        error if result == -1 && error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Whether the call still waits: what was learned of its thread by number before was about that thread.
#[must_use]
pub fn still_waits(listener: BorrowedFd<'_>, call: &Call) -> bool {
    let mut id = call.id;
    // SAFETY: the kernel reads eight bytes.
    unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID, &raw mut id) == 0 }
}

/// A copy of descriptor `number` of the thread that made `call`; close-on-exec.
///
/// # Errors
/// pidfd_open(2), pidfd_getfd(2): the thread has no such descriptor (`EBADF`), or died.
pub fn descriptor_of(listener: BorrowedFd<'_>, call: &Call, number: i32) -> io::Result<OwnedFd> {
    if number < 0 {
        // The app's own number: rustix takes it for a descriptor, of which -1 is none.
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    let thread = Pid::from_raw(call.thread).ok_or(io::ErrorKind::InvalidData)?;
    // `PIDFD_THREAD`, since Linux 6.9: a thread may have a table of descriptors of its own. Before, the
    // process is asked: a wrong table gives a wrong socket of the same app.
    let of_thread = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());
    let pidfd = match pidfd_open(thread, of_thread) {
        Err(rustix::io::Errno::INVAL) => pidfd_open(process_of(thread)?, PidfdFlags::empty()),
        result => result,
    }?;
    if !still_waits(listener, call) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())?)
}

/// The process of a thread (`Tgid` of proc_pid_status(5)).
fn process_of(thread: Pid) -> io::Result<Pid> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", thread.as_raw_nonzero()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let number = line.and_then(|line| line.trim().parse().ok());
    number.and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
