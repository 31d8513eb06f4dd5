//! The environment's place behind the wall.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use super::reach;
use super::values::{Key, NOBODY, Owner, key_of};
use super::wall::Wall;
use crate::model::{Peer, Port};
use crate::sys::ring::Ring;

/// An environment behind the wall: it may bind what it owns, and nothing else.
#[derive(Debug)]
pub struct Tenant {
    wall: Wall,
    id: u64,
    /// Where the program tells of refusals.
    ring: Option<Ring>,
    owned: Vec<Port>,
    /// Owned before, and not to be bound again.
    withheld: Vec<Port>,
    /// What `reach` has told last: it is called at each start.
    reached: Option<(Vec<Peer>, bool)>,
}

/// A bind(2) or connection that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The process, as the host sees it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// What it wanted.
    pub port: Port,
    /// Where, if it was a connection.
    pub to: Option<IpAddr>,
    /// It is not of this environment: it wanted a port of ours.
    pub is_stranger: bool,
    /// The thread's name: the program's own text.
    pub program: String,
}

impl Tenant {
    pub(super) fn new(wall: Wall, id: u64, owned: Vec<Port>) -> Self {
        Self { wall, id, ring: None, owned, withheld: Vec::new(), reached: None }
    }

    /// Has refusals told from here on. The kernel waits for a grace period of all its CPUs, some 10 ms, before a map of
    /// maps has changed: once in a monitor's life, before its first start.
    ///
    /// # Errors
    /// bpf(2), mmap(2).
    pub fn listen_to_refusals(&mut self) -> io::Result<()> {
        if self.ring.is_none() {
            let ring = Ring::create("swrun_ring")?;
            let number = ring.as_fd().as_raw_fd().cast_unsigned();
            self.wall.maps.rings.set(&self.id.to_ne_bytes(), &number.to_ne_bytes())?;
            self.ring = Some(ring);
        }
        Ok(())
    }

    /// May connect to `peers` whatever else is refused; with `is_declared` to nothing else.
    ///
    /// # Errors
    /// bpf(2).
    pub fn reach(&mut self, peers: &[Peer], is_declared: bool) -> io::Result<()> {
        if self.reached.as_ref().is_some_and(|(list, was)| list == peers && *was == is_declared) {
            return Ok(());
        }
        let wanted: BTreeMap<[u8; 32], u32> = peers
            .iter()
            .map(|peer| {
                let kind = if peer.is_loose { reach::LOOSE } else { reach::WRITTEN };
                (key_of(self.id, peer), kind)
            })
            .collect();
        let allowed = &self.wall.maps.allowed;
        // What is new first: an instance that serves meanwhile is refused nothing that stays.
        let added = wanted.iter().try_for_each(|(key, kind)| allowed.set(key, &kind.to_ne_bytes()));
        // A list that could not be told whole leaves it closed.
        let is_closed = is_declared || added.is_err();
        let flags = if is_closed { 1 | reach::DECLARED } else { 1_u32 };
        self.wall.maps.tenants.set(&self.id.to_ne_bytes(), &flags.to_ne_bytes())?;
        for key in allowed.keys()? {
            if key[4..12] == self.id.to_ne_bytes() && !wanted.contains_key(&key) {
                allowed.remove(&key)?;
            }
        }
        added?;
        self.reached = Some((peers.to_vec(), is_declared));
        Ok(())
    }

    /// Owns exactly `ports`; with `is_held` their sockets are such that a second can be bound beside one
    /// that is held. Nobody may bind those of `withheld`, as long as this is so.
    ///
    /// # Errors
    /// bpf(2).
    pub fn own(&mut self, ports: &[Port], withheld: &[Port], is_held: bool) -> io::Result<()> {
        let mut before = std::mem::take(&mut self.owned);
        before.append(&mut self.withheld);
        for port in before.into_iter().filter(|port| !ports.contains(port)) {
            let key = Key::from(port);
            match self.wall.owner(key)? {
                Some(owner) if withheld.contains(&port) && owner.group == self.id => {
                    self.wall.set(key, Owner { group: NOBODY, ..owner })?;
                    self.withheld.push(port);
                }
                // Another environment's profile may have got it meanwhile.
                Some(owner) if [self.id, NOBODY].contains(&owner.group) => self.wall.free(key)?,
                _ => {}
            }
        }
        for port in ports {
            let key = Key::from(*port);
            let refused = self.wall.owner(key)?.map_or(0, |owner| owner.refused);
            let owner = Owner { group: self.id, refused, held: u64::from(is_held) };
            self.wall.set(key, owner)?;
        }
        self.owned = ports.to_vec();
        Ok(())
    }

    /// Moves out: the ports stay reserved, for nobody. Its ring is left to [`Wall::let_go`], for which the kernel has to
    /// be waited.
    pub fn leave(&mut self) {
        for port in std::mem::take(&mut self.owned) {
            let key = Key::from(port);
            if let Ok(Some(owner)) = self.wall.owner(key)
                && owner.group == self.id
            {
                let owner = Owner { group: NOBODY, held: 0, ..owner };
                let _ = self.wall.maps.ports.set(&key.bytes(), &owner.bytes());
            }
        }
        let _ = self.reach(&[], true);
        let _ = self.wall.maps.tenants.remove(&self.id.to_ne_bytes());
        self.ring = None;
    }

    /// Whether the socket of `cookie` got SO_REUSEPORT from the wall, and did not ask for it itself.
    #[must_use]
    pub fn was_marked(&self, cookie: u64) -> bool {
        matches!(self.wall.maps.marked.get(&cookie.to_ne_bytes()), Ok(Some(_)))
    }

    /// What was refused since the last time.
    pub fn refusals(&mut self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if let Some(ring) = &mut self.ring {
            ring.drain(|record| refusals.extend(Refusal::read(record)));
        }
        refusals
    }

    /// Readable when something was refused.
    #[must_use]
    pub fn ring(&self) -> Option<BorrowedFd<'_>> {
        self.ring.as_ref().map(Ring::as_fd)
    }

    /// For what is known of a port, its owner or not.
    #[must_use]
    pub fn wall(&self) -> &Wall {
        &self.wall
    }
}

impl Refusal {
    fn read(record: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = record.get(at..at + 4)?;
            Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let name = record.get(16..32)?.split(|byte| *byte == 0).next()?;
        Some(Self {
            pid: word(0)?,
            uid: word(4)?,
            port: Key(word(8)?).into(),
            is_stranger: word(12)? == 1,
            to: (word(12)? == reach::CONNECTION)
                .then(|| {
                    let bytes: [u8; 16] = record.get(32..48)?.try_into().ok()?;
                    Some(Ipv6Addr::from(bytes).to_canonical())
                })
                .flatten(),
            program: String::from_utf8_lossy(name).into_owned(),
        })
    }
}
