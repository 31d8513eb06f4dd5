//! The listening sockets of an environment, held: an app's listen(2) is done here, on a copy of its socket,
//! and the copy is kept. So connections wait in the kernel's queue while there is no app, and go over to
//! the socket of the next instance when that one listens (`tcp_migrate_req`).

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::handover::one;
use super::ports;
use super::probe;
use super::run::Monitor;
use crate::lifecycle::Instance;
use crate::model::{EventKind, Identity, Phase, Port, Protocol};
use crate::policy::listen::{self, Answer, Facts};
use crate::sys::sockets::{self, Socket};
use crate::sys::{clock, notify};

/// How long after an instance came up its predecessor's sockets are kept that it did not take over: a
/// program may listen on one address after the other.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// How often in a row a socket must have been seen closed by its app, before it is given up.
const CLOSED_LOOKS: u32 = 2;

/// The most processes of an instance whose descriptors are looked at.
const MOST_LOOKED_AT: usize = 64;

/// The most sockets that are held for an environment: copies of each lie with the runner and with systemd.
const MOST_HELD: usize = 64;

/// A socket that is held.
#[derive(Debug)]
struct Held {
    /// Whose app it is, or was.
    instance: u32,
    facts: Facts,
    inode: u64,
    socket: OwnedFd,
    /// In how many looks in a row no process of the app had it.
    closed: u32,
}

/// What goes over to another program in this process's place.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Whose, what was known, its inode, its number.
    held: Vec<(u32, Facts, u64, RawFd)>,
    retire: Option<(Duration, u32)>,
    is_full: bool,
}

/// All that are held.
#[derive(Debug, Default)]
pub struct Listeners {
    held: Vec<Held>,
    /// When those of instances before this one go.
    retire: Option<(Duration, u32)>,
    /// It was said that there are too many.
    is_full: bool,
}

impl Listeners {
    /// What is handed over; `number` hears of each descriptor.
    pub fn state(&self, number: &mut impl FnMut(BorrowedFd<'_>) -> RawFd) -> State {
        let held = self.held.iter();
        let held = held.map(|h| (h.instance, h.facts, h.inode, number(h.socket.as_fd())));
        State { held: held.collect(), retire: self.retire, is_full: self.is_full }
    }

    /// Goes on with what was handed over.
    ///
    /// # Errors
    /// A descriptor is not there.
    pub fn resume(state: State) -> io::Result<Self> {
        let held = state.held.into_iter().map(|(instance, facts, inode, number)| {
            Ok(Held { instance, facts, inode, socket: one(number)?, closed: 0 })
        });
        let held = held.collect::<io::Result<_>>()?;
        Ok(Self { held, retire: state.retire, is_full: state.is_full })
    }

    /// Whether a socket is held that `port` leads to.
    pub fn holds(&self, port: u16) -> bool {
        self.held.iter().any(|held| held.port() == Some(port))
    }

    /// When something is to be done next.
    pub fn next_due(&self) -> Option<Duration> {
        self.retire.map(|(at, _)| at)
    }

    /// Instance `id` is up: what it did not take over of those before goes a moment later.
    fn retire_soon(&mut self, id: u32) {
        self.retire = Some((clock::monotonic() + KEPT_FOR, id));
    }

    /// Ends all of instances that do not live: connections are refused from here on, unless others listen.
    pub fn end_dead(&mut self, is_live: impl Fn(u32) -> bool) {
        self.end(|held| !is_live(held.instance));
    }

    /// Ends the listening of those that no app has: their queues go over to others in their place. Not
    /// by closing alone, since a holder has copies too.
    fn end(&mut self, is: impl Fn(&Held) -> bool) {
        for held in self.held.extract_if(.., |held| is(held)) {
            let _ = rustix::net::shutdown(&held.socket, rustix::net::Shutdown::Both);
            sockets::close(held.socket);
        }
    }

    /// Forgets those for which `is`; they go on listening where somebody else has them open.
    fn forget(&mut self, is: impl Fn(&Held) -> bool) {
        for held in self.held.extract_if(.., |held| is(held)) {
            sockets::close(held.socket);
        }
    }

    /// Takes a socket that a monitor before this one held; `false` for what is none of `ports`.
    pub fn adopt(&mut self, socket: OwnedFd, ports: &[Port]) -> bool {
        let Ok(look) = sockets::look(socket.as_fd()) else { return false };
        let is_ours = look.address.is_some_and(|address| {
            ports.contains(&Port { port: address.port(), proto: Protocol::Tcp })
        });
        let listens = rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false);
        if !is_ours || !listens {
            return false;
        }
        let facts = Facts {
            address: look.address,
            is_v6_only: look.is_v6_only,
            cookie: look.cookie,
            shares: false,
        };
        // Of no instance that lives.
        let instance = super::run::REHEARSAL;
        self.held.push(Held { instance, facts, inode: look.inode, socket, closed: 0 });
        true
    }

    /// What is held, by the kernel's own numbers.
    pub fn cookies(&self) -> impl Iterator<Item = u64> {
        self.held.iter().map(|held| held.facts.cookie)
    }

    /// The same, with the sockets.
    pub fn sockets(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.held.iter().map(|held| (held.facts.cookie, held.socket.as_fd()))
    }

    /// Lets go of what instance `id` listens on where another one does too. Where it lives its queue goes
    /// over as soon as its app closes it, else now.
    pub fn hand_over(&mut self, id: u32, is_live: impl Fn(u32) -> bool) {
        let others: Vec<Facts> = self
            .held
            .iter()
            .filter(|held| held.instance != id && is_live(held.instance))
            .map(|held| held.facts)
            .collect();
        let is_elsewhere = |held: &Held| {
            held.instance == id
                && others.iter().any(|other| listen::is_same_place(other, &held.facts))
        };
        if is_live(id) {
            self.forget(is_elsewhere);
        } else {
            self.end(is_elsewhere);
        }
    }

    /// Ends all that instance `id` listens on.
    pub fn let_go(&mut self, id: u32) {
        self.end(|held| held.instance == id);
    }

    /// New connections go to the instances other than `id`, which is about to listen in their place; it
    /// gets those of the health check alone.
    fn steer_past(&self, id: u32, facts: &Facts) {
        let others = self
            .held
            .iter()
            .filter(|held| held.instance != id && listen::is_same_place(&held.facts, facts));
        let others: Vec<&Held> = others.collect();
        if let Some(first) = others.first() {
            let _ = sockets::steer_past(first.socket.as_fd(), others.len() as u32, probe::SOURCE);
        }
    }

    /// New connections go to `id` alone, which listens beside one older instance.
    pub fn steer_to(&self, id: u32) {
        for held in self.held.iter().filter(|held| held.instance == id) {
            let in_place = |other: &&Held| listen::is_same_place(&other.facts, &held.facts);
            let count = |is_new: bool| {
                let all = self.held.iter().filter(in_place);
                all.filter(|other| (other.instance == id) == is_new).count() as u32
            };
            let _ = sockets::steer(held.socket.as_fd(), count(false), count(true));
        }
    }

    /// The kernel chooses among all that listen.
    pub fn steer_no_more(&self) {
        for held in &self.held {
            // Most have nothing to take off.
            let _ = sockets::steer_no_more(held.socket.as_fd());
        }
    }

    /// Of those on `port`: how many connections wait, and how many may.
    pub fn queue(&self, port: u16) -> Option<(u32, u32)> {
        let on_port = self.held.iter().filter(|held| held.port() == Some(port));
        on_port
            .filter_map(|held| sockets::queue(held.socket.as_fd()).ok())
            .reduce(|(a, b), (c, d)| (a + c, b + d))
    }

    /// The sockets on `port`, by inode, and whose they are.
    pub fn inodes(&self, port: u16) -> impl Iterator<Item = (u32, u64)> {
        let on_port = self.held.iter().filter(move |held| held.port() == Some(port));
        on_port.map(|held| (held.instance, held.inode))
    }

    /// Lets go of ports that are the environment's no more.
    pub fn keep_only(&mut self, ports: &[Port]) {
        let owns = |port| ports.contains(&Port { port, proto: Protocol::Tcp });
        self.forget(|held| !held.port().is_some_and(owns));
    }

    fn retire_if_due(&mut self, is_live: impl Fn(u32) -> bool) {
        if let Some((_, id)) = self.retire.take_if(|(at, _)| *at <= clock::monotonic()) {
            self.end(|held| held.instance < id && !is_live(held.instance));
        }
    }
}

impl Held {
    fn port(&self) -> Option<u16> {
        self.facts.address.map(|address| address.port())
    }
}

impl Monitor {
    /// Does listen(2) for the app.
    pub(super) fn listen(
        &mut self,
        id: u32,
        calls: BorrowedFd<'_>,
        call: &notify::Call,
    ) -> io::Result<()> {
        // Both are int; what is above is not the kernel's either.
        let (number, backlog) = (call.arguments[0] as i32, call.arguments[1] as i32);
        let socket = match notify::descriptor_of(calls, call, number) {
            // Whatever it was that failed, the caller has no such socket to us.
            Err(error) if error.raw_os_error() != Some(libc::EBADF) => {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            result => result?,
        };
        let look = match sockets::look(socket.as_fd()) {
            Ok(look) => look,
            Err(error) => {
                sockets::close(socket);
                return Err(error);
            }
        };
        let facts = self.facts(&look);
        self.forget_closed_in_the_way_of(id, &facts);
        let held: Vec<listen::Held> = self
            .listeners
            .held
            .iter()
            .map(|held| listen::Held { facts: held.facts, is_of_caller: held.instance == id })
            .collect();
        let ports = &self.spec.ports;
        let owns = |port| ports.contains(&Port { port, proto: Protocol::Tcp });
        let answer = listen::decide(&facts, &held, owns);
        let result = match answer {
            Answer::Refuse(errno) => Err(io::Error::from_raw_os_error(errno)),
            Answer::Listen if facts.address.is_none() => {
                listen_as(&self.spec.identity, &socket, backlog)
            }
            Answer::Listen => rustix::net::listen(&socket, backlog).map_err(io::Error::from),
            Answer::Hold => {
                if self.environment.is_newcomer(id) {
                    self.listeners.steer_past(id, &facts);
                }
                rustix::net::listen(&socket, backlog).map_err(io::Error::from)
            }
        };
        if answer == Answer::Hold && result.is_ok() {
            self.hold(Held { instance: id, facts, inode: look.inode, socket, closed: 0 });
        } else {
            sockets::close(socket);
        }
        result
    }

    fn facts(&self, look: &Socket) -> Facts {
        let was_marked =
            || self.tenant.as_ref().is_some_and(|tenant| tenant.was_marked(look.cookie));
        Facts {
            address: look.address,
            is_v6_only: look.is_v6_only,
            cookie: look.cookie,
            shares: look.shares && !was_marked(),
        }
    }

    /// A socket that the instance has closed itself is in nobody's way.
    fn forget_closed_in_the_way_of(&mut self, id: u32, facts: &Facts) {
        let port = facts.address.map(|address| address.port());
        let is_in_the_way = |held: &Held| {
            held.instance == id && held.port() == port && held.facts.cookie != facts.cookie
        };
        if self.listeners.held.iter().any(is_in_the_way) {
            // What could not be looked at is taken for open.
            if let Some(open) = self.open_sockets(id) {
                self.listeners.end(|held| is_in_the_way(held) && !open.contains(&held.inode));
            }
        }
    }

    /// The sockets that the instance's processes have open; `None` where one could not be looked at, or they are
    /// too many to be looked at.
    fn open_sockets(&self, id: u32) -> Option<HashSet<u64>> {
        let processes = self.driver.processes(&self.group_of(id)).ok()?;
        if processes.len() > MOST_LOOKED_AT {
            return None;
        }
        processes.iter().map(|pid| ports::open_sockets(*pid)).try_fold(
            HashSet::new(),
            |mut all, one| {
                all.extend(one?);
                Some(all)
            },
        )
    }

    /// Keeps a socket that has just begun to listen. The dead one's in the same place goes now, so its
    /// queue comes over to this one.
    fn hold(&mut self, new: Held) {
        let (id, port) = (new.instance, new.port());
        let running = &self.running;
        self.listeners.forget(|held| held.facts.cookie == new.facts.cookie);
        self.listeners.end(|held| {
            !running.contains_key(&held.instance) && listen::is_same_place(&held.facts, &new.facts)
        });
        if !self.environment.is_reloading() {
            // What a monitor that was killed in a reload left attached to the group.
            let _ = sockets::steer_no_more(new.socket.as_fd());
        }
        if self.listeners.held.len() < MOST_HELD {
            self.listeners.held.push(new);
        } else {
            sockets::close(new.socket);
            if !std::mem::replace(&mut self.listeners.is_full, true) {
                let text = format!(
                    "it listens on more than {MOST_HELD} sockets: the others are not held over a restart"
                );
                self.write_event(Some(id), EventKind::Warning { text });
            }
        }
        let Some(running) = self.running.get_mut(&id) else { return };
        let were_missing = running.missing_ports.len();
        running.missing_ports.retain(|missing| Some(*missing) != port);
        if were_missing > 0 && running.missing_ports.is_empty() {
            running.next_look = None;
            self.listeners.retire_soon(id);
            self.ports_are_met(id);
        }
    }

    /// Lets go of what no app has any more, at the time of a sample; whether to look again soon.
    pub(super) fn look_at_listeners(&mut self) -> bool {
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            let is_up = |(number, instance): (u32, &Instance)| {
                number == id && instance.phase() == Phase::Online
            };
            // One that is ending closes its socket on purpose, and the next one is to take over.
            if !self.environment.instances().any(is_up)
                || !self.listeners.held.iter().any(|held| held.instance == id)
            {
                continue;
            }
            let Some(open) = self.open_sockets(id) else { continue };
            let mut closed = Vec::new();
            for held in self.listeners.held.iter_mut().filter(|held| held.instance == id) {
                held.closed = if open.contains(&held.inode) { 0 } else { held.closed + 1 };
                closed.extend(held.port().filter(|_| held.closed >= CLOSED_LOOKS));
            }
            self.listeners.end(|held| held.closed >= CLOSED_LOOKS);
            for port in closed {
                let text = format!(
                    "it closed its listening socket on port {port}: nothing waits there now"
                );
                self.write_event(Some(id), EventKind::Warning { text });
            }
        }
        self.listeners.held.iter().any(|held| held.closed > 0)
    }

    pub(super) fn retire_listeners(&mut self) {
        let running = &self.running;
        self.listeners.retire_if_due(|id| running.contains_key(&id));
    }
}

/// listen(2) as the app's user: the other end of a unix socket is told who it was (unix(7),
/// `SO_PEERCRED`), and root it was not.
fn listen_as(identity: &Identity, socket: &OwnedFd, backlog: i32) -> io::Result<()> {
    crate::privilege::identity::as_user(identity, || Ok(rustix::net::listen(socket, backlog)?))
}
