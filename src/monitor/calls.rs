//! The app's system calls that are answered here: listen(2) is done, what the cage refuses is counted.

use std::os::fd::AsFd as _;
use std::time::Duration;

use syscalls::Sysno;

use super::instance::Running;
use super::run::Monitor;
use crate::privilege::filter;
use crate::sys::{clock, notify};

/// The most refusals of an instance that are answered in a second; its threads wait for the others.
const MOST_REFUSALS: u32 = 1000;

/// The most calls of listen(2).
const MOST_LISTENS: u32 = 4000;

impl Running {
    /// Until when none of its calls is answered.
    pub(super) fn calls_rest_until(&self, now: Duration) -> Option<Duration> {
        self.calls.as_ref()?;
        let refused = self.refused.empty_until(MOST_REFUSALS, now);
        refused.max(self.listened.empty_until(MOST_LISTENS, now))
    }
}

impl Monitor {
    /// Answers one call of instance `id`.
    pub(super) fn answer_call(&mut self, id: u32) {
        // Out of its place meanwhile, not copied: there may be no descriptor to be had.
        let calls = self.running.get_mut(&id).and_then(|running| running.calls.take());
        let Some(calls) = calls else { return };
        match notify::waiting(calls.as_fd()) {
            // Asking for the next call would wait for ever, before Linux 6.11.
            notify::Waiting::Ended => return,
            notify::Waiting::Nothing => {}
            notify::Waiting::Call => {
                // An error is one of this call alone: it was interrupted meanwhile.
                if let Ok(Some(call)) = notify::receive(calls.as_fd()) {
                    let number = usize::try_from(call.number).ok().and_then(Sysno::new);
                    let errno = match number {
                        Some(Sysno::listen) => {
                            if let Some(running) = self.running.get_mut(&id) {
                                running.listened.take(MOST_LISTENS, clock::monotonic());
                            }
                            let done = self.listen(id, calls.as_fd(), &call);
                            done.map_or_else(|e| e.raw_os_error().unwrap_or(libc::EIO), |()| 0)
                        }
                        Some(number) => self.refuse(id, number, call.thread),
                        None => libc::ENOSYS,
                    };
                    let _ = notify::answer(calls.as_fd(), &call, errno);
                }
            }
        }
        if let Some(running) = self.running.get_mut(&id) {
            running.calls = Some(calls);
        }
    }

    /// Counts a call that the cage refuses; gives its errno.
    fn refuse(&mut self, id: u32, call: Sysno, thread: i32) -> i32 {
        let now = clock::monotonic();
        if let Some(running) = self.running.get_mut(&id) {
            running.refused.take(MOST_REFUSALS, now);
        }
        // Gone already, or a name that could not be read: the call counts all the same.
        let program = super::wall::program(thread).unwrap_or_default();
        if let Some(event) = self.refusals.add_call(call.name(), program, thread, now) {
            self.write_event(Some(id), event);
        }
        filter::errno_of(call)
    }
}
