//! The health check of an instance that is to replace another: it must answer itself, while all other
//! connections still go to the old one. Told apart by its source address, which nobody else uses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::run::Monitor;
use crate::lifecycle::Event;
use crate::model::{Phase, Ready};
use crate::policy::health::{STATUS_BYTES, Url, is_well, status};
use crate::sys::clock;

/// Where probes come from: an address of the loopback network.
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 83, 87, 82);

/// How long an answer may take, and the pause before the next try.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// A check under way.
#[derive(Debug)]
pub struct Probe {
    /// The instance that must answer.
    pub id: u32,
    state: State,
    /// How the last try failed.
    pub failed: Option<String>,
}

#[derive(Debug)]
enum State {
    /// The next try is then.
    Waits(Duration),
    Asks {
        socket: OwnedFd,
        has_asked: bool,
        answer: Vec<u8>,
        deadline: Duration,
    },
}

/// What a look at the socket came to.
enum Look {
    GoesOn,
    Healthy,
    Failed(String),
}

impl Probe {
    pub fn new(id: u32) -> Self {
        Self { id, state: State::Waits(clock::monotonic()), failed: None }
    }

    /// The descriptor to wait for.
    pub fn source(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Waits(_) => None,
            State::Asks { socket, has_asked: false, .. } => {
                Some((socket.as_fd(), PollFlags::POLLOUT))
            }
            State::Asks { socket, .. } => Some((socket.as_fd(), PollFlags::POLLIN)),
        }
    }

    pub fn next_due(&self) -> Duration {
        match self.state {
            State::Waits(at) => at,
            State::Asks { deadline, .. } => deadline,
        }
    }

    /// Goes on, and says whether it has been answered well; after a failure it tries again.
    fn is_answered(&mut self, url: Option<&Url>, now: Duration) -> bool {
        let look = match url {
            Some(url) => self.look(url, now),
            None => Look::Failed("its address cannot be asked".to_owned()),
        };
        if let Look::Failed(why) = &look {
            self.failed = Some(why.clone());
            self.state = State::Waits(now + PAUSE);
        }
        matches!(look, Look::Healthy)
    }

    fn look(&mut self, url: &Url, now: Duration) -> Look {
        match &mut self.state {
            State::Waits(at) if *at > now => Look::GoesOn,
            State::Waits(_) => match connect(url.address) {
                Ok(socket) => {
                    let deadline = now + ANSWERS_WITHIN;
                    self.state =
                        State::Asks { socket, has_asked: false, answer: Vec::new(), deadline };
                    Look::GoesOn
                }
                Err(error) => Look::Failed(format!("could not connect: {error}")),
            },
            State::Asks { deadline, .. } if *deadline <= now => {
                Look::Failed(format!("no answer within {} s", ANSWERS_WITHIN.as_secs()))
            }
            State::Asks { socket, has_asked, answer, .. } => {
                match ask(socket, url, has_asked, answer) {
                    Ok(None) => Look::GoesOn,
                    Ok(Some(status)) if is_well(status) => Look::Healthy,
                    Ok(Some(status)) => Look::Failed(format!("it answered {status}")),
                    Err(error) => Look::Failed(error.to_string()),
                }
            }
        }
    }
}

impl Monitor {
    /// An instance is ready: it is up, once it has answered where that is wanted.
    pub(super) fn is_listening(&mut self, id: u32) {
        let is_newcomer = self.environment.is_newcomer(id);
        let is_told_apart = self.tenant.is_some();
        let is_awaited =
            self.running.get(&id).is_some_and(|running| running.words.awaited == Ready::Health);
        match &self.spec.health {
            Some(_) if is_newcomer && is_told_apart => self.probe = Some(Probe::new(id)),
            Some(_) if is_awaited && !is_newcomer => self.first_probes.push(Probe::new(id)),
            _ => self.pending.push_back(Event::Running { id }),
        }
    }

    /// Asks those that are on their way up, each for itself; of several on one port any may answer.
    pub(super) fn look_at_first_probes(&mut self) {
        if self.first_probes.is_empty() {
            return;
        }
        let instances = self.environment.instances();
        let starting = instances.filter(|(_, instance)| instance.phase() == Phase::Starting);
        let starting: Vec<u32> = starting.map(|(id, _)| id).collect();
        let url = self.spec.health.as_ref().and_then(|health| Url::parse(&health.http));
        let now = clock::monotonic();
        let pending = &mut self.pending;
        self.first_probes.retain_mut(|probe| {
            let Some(url) = url.as_ref().filter(|_| starting.contains(&probe.id)) else {
                return false;
            };
            let is_healthy = probe.is_answered(Some(url), now);
            if is_healthy {
                pending.push_back(Event::Running { id: probe.id });
            }
            !is_healthy
        });
    }

    /// Goes on with the check, when its socket is ready or its time has come.
    pub(super) fn look_at_probe(&mut self) {
        let Some(probe) = &mut self.probe else { return };
        if !self.environment.is_newcomer(probe.id) {
            self.probe = None;
            return;
        }
        let url = self.spec.health.as_ref().and_then(|health| Url::parse(&health.http));
        let now = clock::monotonic();
        if probe.is_answered(url.as_ref(), now) {
            let id = probe.id;
            self.probe = None;
            self.pending.push_back(Event::Running { id });
        }
    }
}

fn connect(to: SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if to.is_ipv4() {
        rustix::net::bind(&socket, &SocketAddr::from((SOURCE, 0)))?;
    }
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Asks, then reads; gives the status once it is there.
fn ask(
    socket: &OwnedFd,
    url: &Url,
    has_asked: &mut bool,
    answer: &mut Vec<u8>,
) -> io::Result<Option<u16>> {
    rustix::net::sockopt::socket_error(socket)??;
    if !*has_asked {
        let request = url.request();
        match rustix::net::send(socket, request.as_bytes(), rustix::net::SendFlags::NOSIGNAL) {
            Ok(count) if count == request.len() => *has_asked = true,
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        return Ok(None);
    }
    let mut buffer = [0; STATUS_BYTES];
    let room = STATUS_BYTES - answer.len();
    match rustix::io::read(socket, &mut buffer[..room]) {
        Ok(0) => Err(io::Error::other("it closed the connection without an answer")),
        Ok(count) => {
            answer.extend_from_slice(&buffer[..count]);
            if answer.len() < STATUS_BYTES { Ok(None) } else { Ok(Some(status(answer)?)) }
        }
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
