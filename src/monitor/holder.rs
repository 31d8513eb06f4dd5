//! Copies of the held sockets at somebody who outlives this monitor: the runner, and systemd's store of
//! descriptors where it started this (sd_notify(3), `FDSTORE=1`). The next monitor gets them back.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use sd_notify::NotifyState;

use super::budget::Budget;
use super::run::Monitor;
use crate::model::EventKind;
use crate::sys::clock;
use crate::wire::keep::Message;

/// How often a second the holders are told something at most: an app may listen and close without pause,
/// and one of the holders is the host's first process.
const MOST_A_SECOND: u32 = 32;

/// What the holders were told.
#[derive(Debug, Default)]
pub struct Told {
    held: BTreeSet<u64>,
    budget: Budget,
    is_late: bool,
}

impl Told {
    /// Whether there is something to tell, and it may be told now; if not, it is for `next_due`.
    fn may_tell(&mut self, held: &BTreeSet<u64>, now: Duration) -> bool {
        let is_news = *held != self.held;
        let may = is_news && self.budget.take(MOST_A_SECOND, now);
        self.is_late = is_news && !may;
        may
    }

    /// What they have.
    pub fn held(&self) -> &BTreeSet<u64> {
        &self.held
    }

    /// Goes on after a monitor that told them this.
    pub fn go_on(&mut self, held: BTreeSet<u64>) {
        self.held = held;
    }

    /// When they are to be told what they could not be.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        self.budget.empty_until(MOST_A_SECOND, now).filter(|_| self.is_late)
    }
}

impl Monitor {
    /// Takes what a monitor before left; those that are no listening sockets of our ports are closed.
    pub(super) fn adopt(&mut self, sockets: Vec<OwnedFd>, was_killed: bool) {
        let mut adopted = 0;
        for socket in sockets {
            adopted += usize::from(self.listeners.adopt(socket, &self.spec.ports));
        }
        // A monitor that was killed in a reload.
        self.listeners.steer_no_more();
        if adopted > 0 {
            self.write_event(None, EventKind::Adopted { sockets: adopted });
        } else if was_killed && self.holds && !self.spec.ports.is_empty() {
            let text =
                "the sockets that were held are lost: connections that waited there were reset";
            self.write_event(None, EventKind::Warning { text: text.to_owned() });
        }
    }

    /// Tells the holders what is held and what is not any more.
    pub(super) fn tell_holders(&mut self) {
        let newcomers = self.control.newcomers();
        let held: BTreeSet<u64> = self.listeners.cookies().collect();
        let may_tell = self.told.may_tell(&held, clock::monotonic());
        for (cookie, socket) in self.listeners.sockets() {
            let message = Message::Hold { cookie };
            if self.told.held.contains(&cookie) {
                for client in &newcomers {
                    self.control.tell_one(*client, &message, &[socket]);
                }
            } else if may_tell {
                self.control.tell_all(&message, &[socket]);
                let name = name(cookie);
                let state = [
                    NotifyState::FdStore,
                    NotifyState::FdName(&name),
                    NotifyState::Custom("FDPOLL=0"),
                ];
                let _ = sd_notify::notify_with_fds(&state, &[socket]);
            }
        }
        if !may_tell {
            return;
        }
        let before = std::mem::replace(&mut self.told.held, held);
        let released: Vec<u64> = before.difference(&self.told.held).copied().collect();
        if !released.is_empty() {
            for cookie in &released {
                let name = name(*cookie);
                let state = [NotifyState::FdStoreRemove, NotifyState::FdName(&name)];
                let _ = sd_notify::notify(&state);
            }
            self.control.tell_all(&Message::Release { cookies: released }, &[]);
        }
    }
}

/// The name of a socket in systemd's store.
fn name(cookie: u64) -> String {
    format!("listener-{cookie}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_without_pause_is_told_a_bounded_number_of_times_and_in_the_end() {
        let mut told = Told::default();
        let at = |millis| Duration::from_secs(7) + Duration::from_millis(millis);
        let mut times = 0;
        for number in 0..999 {
            let held = BTreeSet::from([number]);
            if told.may_tell(&held, at(number)) {
                told.held = held;
                times += 1;
            }
        }
        assert_eq!(times, MOST_A_SECOND);
        let last = BTreeSet::from([998]);
        assert_eq!(told.next_due(at(999)), Some(at(1000)));
        assert!(told.may_tell(&last, at(1000)));
        told.held = last.clone();
        assert!(!told.may_tell(&last, at(1001)), "it is no news");
        assert_eq!(told.next_due(at(1001)), None);
    }
}
