//! Signal masks and dispositions.

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// All signals are blocked while this lives.
#[derive(Debug)]
pub struct AllBlocked(SigSet);

impl AllBlocked {
    /// Blocks them.
    #[must_use]
    pub fn now() -> Self {
        let mut before = SigSet::empty();
        // It fails only for a bad `how`.
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before));
        Self(before)
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.0), None);
    }
}

/// Gives the program that is executed next what a shell gives it: nothing blocked, nothing ignored
/// (Rust's runtime ignores SIGPIPE).
///
/// # Errors
/// sigaction(2).
pub fn reset_for_exec() -> io::Result<()> {
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // JUSTIFICATION: nix marks every change of a disposition unsafe, since handlers are.
        // SAFETY: the default disposition runs no code of ours.
        unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl)? };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Ends the process by SIGPIPE when its reader goes away, as command lines do.
pub fn end_at_closed_pipe() {
    // JUSTIFICATION and SAFETY: as in `reset_for_exec`. It fails only for a bad signal number.
    let _ =
        unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) };
}
