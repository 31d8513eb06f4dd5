//! Signal masks and dispositions.

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// Gives the program that is executed next what a shell gives it: nothing blocked, nothing ignored
/// (Rust's runtime ignores SIGPIPE), the two signals that glibc keeps for itself included.
///
/// # Errors
/// sigprocmask(2).
pub fn reset_for_exec() -> io::Result<()> {
    // The kernel's own form of a sigaction: handler, flags, restorer, mask; zero is the default.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // JUSTIFICATION: glibc refuses 32 and 33, and nix knows no real-time signals.
        // SAFETY: the kernel reads 32 bytes of `default`, which tell it to run no code of ours; it
        // refuses SIGKILL and SIGSTOP, which need no reset.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    unblock_all()
}

/// Blocks no signal.
///
/// # Errors
/// sigprocmask(2).
pub fn unblock_all() -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}
