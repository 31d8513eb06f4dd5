//! Copies of the held sockets at somebody who outlives this monitor: the runner, and systemd's store of
//! descriptors where it started this (sd_notify(3), `FDSTORE=1`). The next monitor gets them back.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use sd_notify::NotifyState;

use super::run::Monitor;
use crate::model::EventKind;
use crate::wire::keep::Message;

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
        let released: Vec<u64> = self.told_holders.difference(&held).copied().collect();
        let new: Vec<u64> = held.difference(&self.told_holders).copied().collect();
        for (cookie, socket) in self.listeners.sockets() {
            let is_new = new.contains(&cookie);
            let message = Message::Hold { cookie };
            if is_new {
                self.control.tell_all(&message, &[socket]);
                let name = name(cookie);
                let state = [
                    NotifyState::FdStore,
                    NotifyState::FdName(&name),
                    NotifyState::Custom("FDPOLL=0"),
                ];
                let _ = sd_notify::notify_with_fds(&state, &[socket]);
            } else {
                for client in &newcomers {
                    self.control.tell_one(*client, &message, &[socket]);
                }
            }
        }
        if !released.is_empty() {
            for cookie in &released {
                let name = name(*cookie);
                let state = [NotifyState::FdStoreRemove, NotifyState::FdName(&name)];
                let _ = sd_notify::notify(&state);
            }
            self.control.tell_all(&Message::Release { cookies: released }, &[]);
        }
        self.told_holders = held;
    }
}

/// The name of a socket in systemd's store.
fn name(cookie: u64) -> String {
    format!("listener-{cookie}")
}
