//! Refused binds and system calls, as events: the first of a kind at once, the others counted, at most one event a minute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{EventKind, Port};
use crate::ports::Refusal;

/// At most one event of a kind in this time: an app may try ten thousand times a second.
const EVERY: Duration = Duration::from_secs(60);

/// The most kinds that are told apart; an app can choose names and ports.
const MOST_KINDS: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    what: What,
    program: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Port { port: Port, is_stranger: bool },
    Connection { to: IpAddr, port: Port },
    Call(&'static str),
}

#[derive(Debug)]
struct Untold {
    /// When the next event may be written.
    at: Duration,
    pid: u32,
    times: u64,
}

/// What was refused and not told yet.
#[derive(Debug, Default)]
pub struct Refusals {
    kinds: BTreeMap<Kind, Untold>,
    /// What the environment itself was refused last.
    own: Option<Port>,
}

impl Refusals {
    /// Takes a refusal; gives the event if it is to be written at once.
    pub fn add(&mut self, refusal: Refusal, now: Duration) -> Option<EventKind> {
        let Refusal { pid, port, to, is_stranger, program, .. } = refusal;
        let what = match to {
            Some(to) => What::Connection { to, port },
            None => What::Port { port, is_stranger },
        };
        if !is_stranger && to.is_none() {
            self.own = Some(port);
        }
        self.count(Kind { what, program }, pid, now)
    }

    /// The same, of a system call that the cage refused.
    pub fn add_call(
        &mut self,
        call: &'static str,
        program: String,
        thread: i32,
        now: Duration,
    ) -> Option<EventKind> {
        self.count(Kind { what: What::Call(call), program }, thread.unsigned_abs(), now)
    }

    fn count(&mut self, kind: Kind, pid: u32, now: Duration) -> Option<EventKind> {
        if let Some(untold) = self.kinds.get_mut(&kind) {
            (untold.pid, untold.times) = (pid, untold.times + 1);
            return None;
        }
        if self.kinds.len() >= MOST_KINDS {
            return None;
        }
        let event = event(&kind, pid, 1);
        self.kinds.insert(kind, Untold { at: now + EVERY, pid, times: 0 });
        Some(event)
    }

    /// What the environment itself was refused since this was asked last: often why it ended.
    pub fn take_own(&mut self) -> Option<Port> {
        self.own.take()
    }

    /// When something is to be told.
    pub fn next_due(&self) -> Option<Duration> {
        self.kinds.values().map(|untold| untold.at).min()
    }

    /// All that is counted and not told, whenever it were to be; nothing is known of it afterwards.
    pub fn take_all(&mut self) -> Vec<EventKind> {
        let kinds = std::mem::take(&mut self.kinds);
        let untold = kinds.iter().filter(|(_, untold)| untold.times > 0);
        untold.map(|(kind, untold)| event(kind, untold.pid, untold.times)).collect()
    }

    /// What is to be told by now; a kind that was quiet for a while is forgotten.
    pub fn due(&mut self, now: Duration) -> Vec<EventKind> {
        let mut events = Vec::new();
        self.kinds.retain(|kind, untold| {
            if untold.at > now {
                return true;
            }
            let times = std::mem::take(&mut untold.times);
            untold.at = now + EVERY;
            if times > 0 {
                events.push(event(kind, untold.pid, times));
            }
            times > 0
        });
        events
    }
}

fn event(kind: &Kind, pid: u32, times: u64) -> EventKind {
    let program = kind.program.clone();
    match kind.what {
        What::Port { port: Port { port, proto }, is_stranger: stranger } => {
            EventKind::Refused { port, proto, program, pid, stranger, times }
        }
        What::Connection { to, port: Port { port, proto } } => {
            let to = std::net::SocketAddr::new(to, port).to_string();
            EventKind::RefusedConnection { to, proto, program, pid, times }
        }
        What::Call(call) => EventKind::RefusedCall { call: call.to_owned(), program, pid, times },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn refusal(port: u16, pid: u32) -> Refusal {
        let port = Port { port, proto: Protocol::Tcp };
        Refusal { pid, uid: 7, port, to: None, is_stranger: false, program: "node".to_owned() }
    }

    fn times(event: &EventKind) -> (u32, u64) {
        match event {
            EventKind::Refused { pid, times, .. } => (*pid, *times),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_a_minute() {
        let second = Duration::from_secs;
        let mut refusals = Refusals::default();
        assert_eq!(refusals.add(refusal(80, 1), second(5)).as_ref().map(times), Some((1, 1)));
        for pid in 2..10_002 {
            assert_eq!(refusals.add(refusal(80, pid), second(6)), None);
        }
        // Another port is another matter.
        assert!(refusals.add(refusal(81, 1), second(6)).is_some());
        assert_eq!(refusals.next_due(), Some(second(65)));
        assert!(refusals.due(second(64)).is_empty());
        let told: Vec<_> = refusals.due(second(66)).iter().map(times).collect();
        assert_eq!(told, [(10_001, 10_000)]);
        assert_eq!(refusals.next_due(), Some(second(126)), "the one that was quiet is forgotten");
        assert!(refusals.due(second(126)).is_empty());
        assert_eq!(refusals.next_due(), None);
    }

    #[test]
    fn what_is_not_told_yet_is_told_before_a_monitor_hands_over() {
        let mut refusals = Refusals::default();
        for pid in 1..4 {
            refusals.add(refusal(80, pid), Duration::ZERO);
        }
        refusals.add(refusal(81, 1), Duration::ZERO);
        let told: Vec<_> = refusals.take_all().iter().map(times).collect();
        assert_eq!(told, [(3, 2)]);
        assert!(refusals.take_all().is_empty());
    }

    #[test]
    fn an_app_cannot_fill_the_journal_with_kinds() {
        let mut refusals = Refusals::default();
        let told = (0..1000).filter_map(|port| refusals.add(refusal(port, 1), Duration::ZERO));
        assert_eq!(told.count(), MOST_KINDS);
    }
}
