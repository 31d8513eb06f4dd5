//! A port of the environment is somebody else's: the start waits until that one has gone, without spinning.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::run::Monitor;
use crate::lifecycle::Event;
use crate::model::{BlockedBy, EventKind, Port, Protocol};
use crate::ports::{holder, is_taken};
use crate::privilege::identity::as_user;
use crate::sys::clock;

/// The holder may close its socket and go on: looked at in growing steps.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const SLOWEST_LOOK: Duration = Duration::from_secs(30);

/// Who is in the way.
#[derive(Debug)]
pub struct Blocked {
    port: Port,
    /// As an operator is told.
    pub by: BlockedBy,
    /// Readable when the holder has ended.
    pub process: Option<OwnedFd>,
    /// When it is looked at next, and the pause after that.
    pub next_look: (Duration, Duration),
}

impl Monitor {
    /// The first port that somebody else has. Where an instance runs or its socket is held, it is ours.
    fn taken_port(&self) -> Option<Port> {
        if !self.running.is_empty() {
            return None;
        }
        let is_held = |port: &Port| port.proto == Protocol::Tcp && self.listeners.holds(port.port);
        self.spec.ports.iter().copied().find(|port| !is_held(port) && self.is_taken(*port))
    }

    /// As the app's user: root's own socket with SO_REUSEPORT would let another of root's in beside it.
    fn is_taken(&self, port: Port) -> bool {
        as_user(&self.spec.identity, || Ok(is_taken(port))).unwrap_or(false)
    }

    /// `true` when instance `id` cannot be launched for a port that is taken.
    pub(super) fn is_blocked(&mut self, id: u32) -> bool {
        let before = self.blocked.take();
        let Some(port) = self.taken_port() else { return false };
        let found = holder(port).ok().flatten();
        let process = found
            .as_ref()
            .and_then(|holder| pidfd_open(Pid::from_raw(holder.pid)?, PidfdFlags::empty()).ok());
        let by = BlockedBy {
            port: port.port,
            proto: port.proto,
            pid: found.as_ref().map(|holder| holder.pid),
            program: found.as_ref().map(|holder| holder.program.clone()),
            uid: found.as_ref().map(|holder| holder.uid),
            cgroup: found.and_then(|holder| holder.cgroup),
        };
        if before.is_none_or(|before| before.by != by) {
            self.write_event(Some(id), EventKind::Blocked(by.clone()));
        }
        let next_look = (clock::monotonic() + FIRST_LOOK, FIRST_LOOK);
        self.blocked = Some(Blocked { port, by, process, next_look });
        // Who waits for this start waits no longer.
        self.ends += 1;
        self.pending.push_back(Event::Blocked { id });
        true
    }

    /// The holder has ended: another try.
    pub(super) fn unblock(&mut self) {
        if let Some(blocked) = &mut self.blocked {
            blocked.process = None;
            self.pending.push_back(Event::Unblocked);
        }
    }

    pub(super) fn look_at_blocked(&mut self, now: Duration) {
        let due = self.blocked.as_ref().filter(|blocked| blocked.next_look.0 <= now);
        let Some(is_taken) = due.map(|blocked| self.is_taken(blocked.port)) else { return };
        let Some(blocked) = &mut self.blocked else { return };
        if is_taken {
            let pause = (blocked.next_look.1 * 2).min(SLOWEST_LOOK);
            blocked.next_look = (now + pause, pause);
        } else {
            blocked.next_look = (now + SLOWEST_LOOK, SLOWEST_LOOK);
            self.pending.push_back(Event::Unblocked);
        }
    }
}
