//! The wall: program, maps and links in the kernel, found again by their numbers.
//!
//! The runner builds it; monitors find it by the file that the runner left. It stands as long as one of
//! them has it open, or for ever where a BPF file system keeps it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::program::{self, DATAGRAM};
use super::{count, reach};
use crate::model::{Peer, Port, PortLine, Protocol};
use crate::sys::bpf::{self, Hook, Instruction, Map, MapKind};
use crate::sys::ring::Ring;
use crate::sys::{clock, files};

/// The most ports and environments of one host.
const MOST_PORTS: u32 = 1 << 17;
const MOST_ENVIRONMENTS: u32 = 4096;
const MOST_MARKED: u32 = 1 << 14;
const MOST_REACHED: u32 = 1 << 16;
const MOST_PLACES: u32 = 4096;

/// The owner of a port whose environment is stopped: no cgroup has this number.
const NOBODY: u64 = u64::MAX;

/// A port of one protocol, as the maps have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u32);

impl Key {
    fn bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }
}

impl From<Port> for Key {
    fn from(port: Port) -> Self {
        let protocol = if port.proto == Protocol::Tcp { 0 } else { DATAGRAM };
        Self(u32::from(port.port) | protocol)
    }
}

impl From<Key> for Port {
    fn from(key: Key) -> Self {
        let proto = if key.0 & DATAGRAM == 0 { Protocol::Tcp } else { Protocol::Udp };
        Self { port: (key.0 & 0xffff) as u16, proto }
    }
}

/// The value of a port: its owner's cgroup, refusals of strangers, whether it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    group: u64,
    refused: u64,
    held: u64,
}

impl Owner {
    fn bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (to, from) in bytes.chunks_exact_mut(8).zip([self.group, self.refused, self.held]) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8; 24]) -> Self {
        let mut words = bytes.chunks_exact(8).map(|word| {
            let mut number = [0; 8];
            number.copy_from_slice(word);
            u64::from_ne_bytes(number)
        });
        let mut next = || words.next().unwrap_or_default();
        Self { group: next(), refused: next(), held: next() }
    }
}

/// A part of all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefix {
    /// IPv4 mapped.
    address: Ipv6Addr,
    /// In bits.
    length: u8,
}

impl Prefix {
    fn of(address: IpAddr) -> Self {
        Self { address: mapped(address), length: 128 }
    }

    fn bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&u32::from(self.length).to_ne_bytes());
        bytes[4..].copy_from_slice(&self.address.octets());
        bytes
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Addresses of every host; the unspecified ones lead to it too.
const LOOPBACK: [(Ipv6Addr, u8); 4] = [
    (Ipv4Addr::new(127, 0, 0, 0).to_ipv6_mapped(), 104),
    (Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 128),
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::UNSPECIFIED, 128),
];

/// Where clouds tell a machine's credentials to whoever asks: most of them; Amazon's containers; Alibaba; Azure;
/// Amazon over IPv6.
const SECRETS: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// How many connections a port got, those included that wait still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Accepted {
    count: u64,
    /// Since when, in milliseconds since 1970.
    since: u64,
}

/// Where the numbers of the maps are kept, and what they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    schema: u32,
    boot: String,
    level: u32,
    cookie: u64,
    target: PathBuf,
    maps: [u32; 7],
    links: [u32; LINKS.len()],
}

const SCHEMA: u32 = 3;

/// Where the programs are attached, and how the kernel shows them.
const LINKS: [(Hook, &str); 7] = [
    (Hook::Bind4, "swrun_bind4"),
    (Hook::Bind6, "swrun_bind6"),
    (Hook::Connections, "swrun_count"),
    (Hook::Connect4, "swrun_connect4"),
    (Hook::Connect6, "swrun_connect6"),
    (Hook::Send4, "swrun_send4"),
    (Hook::Send6, "swrun_send6"),
];

/// Whether this kernel, and the rights of this process, allow a wall: its program is loaded and dropped.
///
/// # Errors
/// What the kernel said.
pub fn try_out() -> io::Result<()> {
    let maps = Maps::create()?;
    let cookie = netns_cookie()?;
    for (hook, name) in LINKS {
        bpf::load(&maps.program(hook, 1, cookie), hook, name)?;
    }
    Ok(())
}

/// The maps of a wall.
#[derive(Debug)]
struct Maps {
    ports: Map<4, 24>,
    tenants: Map<8, 4>,
    rings: Map<8, 4>,
    marked: Map<8, 4>,
    /// Port to connections, and when their count began in milliseconds since 1970.
    counts: Map<4, 16>,
    /// [`Reach`] to nothing in particular.
    allowed: Map<32, 4>,
    /// Prefix length and address to what is there.
    places: Map<20, 4>,
}

impl Maps {
    fn create() -> io::Result<Self> {
        let pattern = Ring::create("swrun_ring")?;
        let trie = |name| Map::create(MapKind::LpmTrie, MOST_REACHED, name);
        Ok(Self {
            ports: Map::create(MapKind::Hash, MOST_PORTS, "swrun_ports")?,
            tenants: Map::create(MapKind::Hash, MOST_ENVIRONMENTS, "swrun_tenants")?,
            rings: Map::create_of_maps(MOST_ENVIRONMENTS, pattern.as_fd(), "swrun_rings")?,
            marked: Map::create(MapKind::LruHash, MOST_MARKED, "swrun_marked")?,
            counts: Map::create(MapKind::Hash, MOST_PORTS, "swrun_counts")?,
            allowed: trie("swrun_allowed")?,
            places: Map::create(MapKind::LpmTrie, MOST_PLACES, "swrun_places")?,
        })
    }

    fn open(numbers: &[u32; 7]) -> io::Result<Self> {
        let map = |at: usize| bpf::map_of_number(numbers[at]);
        Ok(Self {
            ports: Map::from_descriptor(map(0)?)?,
            tenants: Map::from_descriptor(map(1)?)?,
            rings: Map::from_descriptor(map(2)?)?,
            marked: Map::from_descriptor(map(3)?)?,
            counts: Map::from_descriptor(map(4)?)?,
            allowed: Map::from_descriptor(map(5)?)?,
            places: Map::from_descriptor(map(6)?)?,
        })
    }

    fn descriptors(&self) -> [&OwnedFd; 7] {
        [
            self.ports.descriptor(),
            self.tenants.descriptor(),
            self.rings.descriptor(),
            self.marked.descriptor(),
            self.counts.descriptor(),
            self.allowed.descriptor(),
            self.places.descriptor(),
        ]
    }

    /// The program of a hook.
    fn program(&self, hook: Hook, level: u32, cookie: u64) -> Vec<Instruction> {
        let [ports, tenants, rings, marked, counts, allowed, places] =
            self.descriptors().map(|descriptor| descriptor.as_raw_fd());
        match hook {
            Hook::Bind4 | Hook::Bind6 => {
                program::bind(program::Maps { ports, tenants, rings, marked }, level, cookie)
            }
            Hook::Connections => count::connections(counts, cookie),
            Hook::Connect4 | Hook::Send4 | Hook::Connect6 | Hook::Send6 => {
                let maps = reach::Maps { ports, tenants, rings, allowed, places };
                let is_v6 = matches!(hook, Hook::Connect6 | Hook::Send6);
                reach::connect(maps, level, cookie, is_v6)
            }
        }
    }
}

/// The wall, opened.
#[derive(Debug)]
pub struct Wall {
    maps: Maps,
    /// Held, so that the programs stay attached.
    links: Vec<OwnedFd>,
}

impl Wall {
    /// Finds the wall that `file` tells of.
    ///
    /// # Errors
    /// There is none, or it has gone with the last process that had it open (`NotFound`).
    pub fn find(file: &Path) -> io::Result<Self> {
        Self::open(&Saved::read(file)?)
    }

    /// Finds the wall that `file` tells of, if it is this one; or builds it, attached to the cgroup
    /// folder `target`, for environments `level` groups below the root of the v2 tree. `pins` is where it
    /// may have been kept.
    ///
    /// # Errors
    /// The kernel lacks what it needs, or refused it.
    pub fn build(file: &Path, target: &Path, level: u32, pins: Option<&Path>) -> io::Result<Self> {
        let cookie = netns_cookie()?;
        if let Ok(saved) = Saved::read(file)
            && let Ok(wall) = Self::open(&saved)
        {
            if (saved.level, saved.cookie, saved.target.as_path()) == (level, cookie, target) {
                return Ok(wall);
            }
            // Two walls would have to agree on every bind. Without its pins it stands only where
            // monitors of before are behind it: then it is theirs, and stays.
            drop(wall);
            unpin(pins);
            if let Ok(wall) = Self::open(&saved) {
                return Ok(wall);
            }
        }
        // Of a wall whose file is lost.
        unpin(pins);
        let maps = Maps::create()?;
        let group = std::fs::File::open(target)?;
        let attach = |(hook, name)| {
            let program = bpf::load(&maps.program(hook, level, cookie), hook, name)?;
            bpf::attach(program.as_fd(), group.as_fd(), hook)
        };
        let links = LINKS.into_iter().map(attach).collect::<io::Result<Vec<_>>>()?;
        let mut saved = Saved {
            schema: SCHEMA,
            boot: clock::boot_id()?,
            level,
            cookie,
            target: target.to_owned(),
            maps: [0; 7],
            links: [0; LINKS.len()],
        };
        for (number, map) in saved.maps.iter_mut().zip(maps.descriptors()) {
            *number = bpf::map_number(map.as_fd())?;
        }
        for (number, link) in saved.links.iter_mut().zip(&links) {
            *number = bpf::link_number(link.as_fd())?;
        }
        let wall = Self { maps, links };
        wall.mark_places(&[])?;
        files::replace_lightly(file, &serde_json::to_vec(&saved)?, 0o600)?;
        Ok(wall)
    }

    fn open(saved: &Saved) -> io::Result<Self> {
        let links = saved.links.iter().map(|number| bpf::link_of_number(*number));
        Ok(Self { maps: Maps::open(&saved.maps)?, links: links.collect::<io::Result<_>>()? })
    }

    /// Tells the addresses of this host, beside its loopback. What was told before and is not now goes.
    ///
    /// # Errors
    /// bpf(2).
    pub fn mark_places(&self, addresses: &[IpAddr]) -> io::Result<()> {
        let own = addresses.iter().map(|address| (Prefix::of(*address), reach::LOCAL));
        let mut wanted: BTreeMap<[u8; 20], u32> =
            own.map(|(at, kind)| (at.bytes(), kind)).collect();
        wanted.extend(
            LOOPBACK.map(|(address, length)| (Prefix { address, length }.bytes(), reach::LOCAL)),
        );
        wanted.extend(SECRETS.map(|address| (Prefix::of(address).bytes(), reach::SECRET)));
        for key in self.maps.places.keys()? {
            if !wanted.contains_key(&key) {
                self.maps.places.remove(&key)?;
            }
        }
        for (key, kind) in wanted {
            self.maps.places.set(&key, &kind.to_ne_bytes())?;
        }
        Ok(())
    }

    /// Keeps the links in the folder `pins` of a BPF file system: the wall stands when every process of
    /// ours is gone.
    ///
    /// # Errors
    /// mkdir(2) or bpf(2).
    pub fn keep(&self, pins: &Path) -> io::Result<()> {
        if pins.exists() {
            return Ok(());
        }
        std::fs::create_dir(pins)?;
        for (link, name) in self.links.iter().zip(LINKS.map(|(_, name)| name)) {
            let path = CString::new(pins.join(name).as_os_str().as_bytes())?;
            bpf::pin(link.as_fd(), &path)?;
        }
        Ok(())
    }

    /// Reserves exactly `wanted`: who owns a port now keeps it, a port that nobody wants any more is free.
    ///
    /// # Errors
    /// bpf(2).
    pub fn reserve(&self, wanted: &[Port]) -> io::Result<()> {
        let wanted: Vec<Key> = wanted.iter().map(|port| Key::from(*port)).collect();
        for bytes in self.maps.ports.keys()? {
            let key = Key(u32::from_ne_bytes(bytes));
            if !wanted.contains(&key) && self.owner(key)?.is_some_and(|owner| owner.group == NOBODY)
            {
                self.free(key)?;
            }
        }
        for key in wanted {
            if self.owner(key)?.is_none() {
                let owner = Owner { group: NOBODY, refused: 0, held: 0 };
                self.set(key, owner)?;
            }
        }
        Ok(())
    }

    /// Gives a port its owner; from the first one on its connections are counted.
    fn set(&self, key: Key, owner: Owner) -> io::Result<()> {
        if self.maps.counts.get(&key.bytes())?.is_none() {
            let mut begun = [0; 16];
            begun[8..].copy_from_slice(&clock::wall_millis().to_ne_bytes());
            self.maps.counts.set(&key.bytes(), &begun)?;
        }
        self.maps.ports.set(&key.bytes(), &owner.bytes())
    }

    fn free(&self, key: Key) -> io::Result<()> {
        self.maps.ports.remove(&key.bytes())?;
        self.maps.counts.remove(&key.bytes())
    }

    /// The connections to `port` since it is reserved; `None` where they are not counted.
    fn accepted(&self, port: Port) -> io::Result<Option<Accepted>> {
        if port.proto != Protocol::Tcp {
            return Ok(None);
        }
        let read = |bytes: [u8; 16]| {
            let number = u128::from_ne_bytes(bytes);
            let (low, high) = (number as u64, (number >> 64) as u64);
            let (count, since) =
                if cfg!(target_endian = "big") { (high, low) } else { (low, high) };
            Accepted { count, since }
        };
        Ok(self.maps.counts.get(&Key::from(port).bytes())?.map(read))
    }

    /// Adds what was counted of a port: what could not be read, or is not counted, is not known.
    pub fn count(&self, line: &mut PortLine) {
        let port = Port { port: line.port, proto: line.proto };
        line.refused = self.owner(port.into()).ok().flatten().map(|owner| owner.refused);
        if let Ok(Some(accepted)) = self.accepted(port) {
            let waiting = line.queue.unwrap_or(0).into();
            line.accepted = Some(accepted.count.saturating_sub(waiting));
            line.accepted_since = clock::rfc3339(accepted.since);
        }
    }

    fn owner(&self, key: Key) -> io::Result<Option<Owner>> {
        Ok(self.maps.ports.get(&key.bytes())?.as_ref().map(Owner::read))
    }

    /// Moves the environment of the cgroup folder `group` in.
    ///
    /// # Errors
    /// bpf(2), mmap(2).
    pub fn enter(self, group: &Path) -> io::Result<Tenant> {
        let id = std::fs::metadata(group)?.ino();
        self.maps.tenants.set(&id.to_ne_bytes(), &1_u32.to_ne_bytes())?;
        // A monitor that was killed could not give back what its spec has no more.
        let keys = self.maps.ports.keys()?.into_iter().map(|bytes| Key(u32::from_ne_bytes(bytes)));
        let is_own = |key: &Key| matches!(self.owner(*key), Ok(Some(owner)) if owner.group == id);
        let owned = keys.filter(is_own).map(Port::from).collect();
        Ok(Tenant { wall: self, id, ring: None, owned, withheld: Vec::new() })
    }
}

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
}

/// What the program looks up: length in bits, environment, port, address.
fn key_of(environment: u64, peer: &Peer) -> [u8; 32] {
    let mut key = [0; 32];
    let length = 96
        + match peer.address {
            IpAddr::V4(_) => 96 + u32::from(peer.prefix),
            IpAddr::V6(_) => u32::from(peer.prefix),
        };
    key[..4].copy_from_slice(&length.to_ne_bytes());
    key[4..12].copy_from_slice(&environment.to_ne_bytes());
    key[12..16].copy_from_slice(&u32::from(peer.port).to_ne_bytes());
    key[16..].copy_from_slice(&mapped(peer.address).octets());
    key
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
    /// Has refusals told from here on. Not at once with `enter`: the kernel waits for a grace period of all
    /// its CPUs, some 10 ms, before a map of maps has changed.
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
        let wanted: Vec<[u8; 32]> = peers.iter().map(|peer| key_of(self.id, peer)).collect();
        let allowed = &self.wall.maps.allowed;
        for key in wanted.iter() {
            allowed.set(key, &1_u32.to_ne_bytes())?;
        }
        for key in allowed.keys()? {
            if key[4..12] == self.id.to_ne_bytes() && !wanted.contains(&key) {
                allowed.remove(&key)?;
            }
        }
        let flags = if is_declared { 1 | reach::DECLARED } else { 1 };
        self.wall.maps.tenants.set(&self.id.to_ne_bytes(), &flags.to_ne_bytes())
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

    /// Moves out: the ports stay reserved, for nobody.
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
        if self.ring.take().is_some() {
            let _ = self.wall.maps.rings.remove(&self.id.to_ne_bytes());
        }
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

/// Takes the pins of a wall away.
fn unpin(pins: Option<&Path>) {
    if let Some(pins) = pins {
        // Most have none.
        let _ = std::fs::remove_dir_all(pins);
    }
}

impl Saved {
    fn read(file: &Path) -> io::Result<Self> {
        let saved: Self = serde_json::from_slice(&files::read_bounded(file, 64 << 10)?)?;
        if saved.schema != SCHEMA || saved.boot != clock::boot_id()? {
            // Numbers of another boot are another's.
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(saved)
    }
}

/// The number of this process's network namespace.
fn netns_cookie() -> io::Result<u64> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    crate::sys::sockets::netns_cookie(socket.as_fd())
}
