//! The wall: program, maps and links in the kernel, found again by their numbers.
//!
//! The runner builds it; monitors find it by the file that the runner left. It stands as long as one of
//! them has it open, or for ever where a BPF file system keeps it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::maps::{LINKS, Maps};
use super::reach;
use super::tenant::Tenant;
use super::values::{Key, LOOPBACK, NOBODY, Owner, Prefix, SECRETS};
use crate::model::{Port, PortLine, Protocol};
use crate::sys::bpf;
use crate::sys::{clock, files};

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

/// The wall, opened.
#[derive(Debug)]
pub struct Wall {
    pub(super) maps: Maps,
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

    /// What keeps it up, where no file system does.
    pub fn links(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().map(|link| link.as_fd())
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

    /// Reserves exactly `wanted`: who owns a port now keeps it, a port that nobody wants any more is free. What
    /// is owned by none of the cgroups in the folder `base` is left by a monitor that was killed.
    ///
    /// # Errors
    /// bpf(2), or the folder could not be read.
    pub fn reserve(&self, wanted: &[Port], base: &Path) -> io::Result<()> {
        // First what is owned, then who lives: whoever moves in between the two has a group by then.
        let mut owners = Vec::new();
        for bytes in self.maps.ports.keys()? {
            let key = Key(u32::from_ne_bytes(bytes));
            owners.extend(self.owner(key)?.map(|owner| (key, owner.group)));
        }
        let tenants = self.maps.tenants.keys()?;
        let allowed = self.maps.allowed.keys()?;
        let living: Vec<u64> = match std::fs::read_dir(base) {
            // The slice of the environments, before the first one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            folders => folders?
                .map(|entry| entry.and_then(|entry| entry.metadata()).map(|found| found.ino()))
                // One that went meanwhile does not live.
                .filter(|found| !found.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound))
                .collect::<io::Result<_>>()?,
        };
        let is_left = |group: u64| !living.contains(&group);
        let wanted: Vec<Key> = wanted.iter().map(|port| Key::from(*port)).collect();
        for (key, group) in owners {
            // One that is wanted stays a dead group's, which is nobody's: its next monitor may be taking it.
            if is_left(group) && !wanted.contains(&key) {
                self.free(key)?;
            }
        }
        for key in tenants {
            if is_left(u64::from_ne_bytes(key)) {
                self.maps.tenants.remove(&key)?;
            }
        }
        for key in allowed {
            let mut group = [0; 8];
            group.copy_from_slice(&key[4..12]);
            if is_left(u64::from_ne_bytes(group)) {
                self.maps.allowed.remove(&key)?;
            }
        }
        for key in wanted {
            // A monitor may take it in the same moment.
            self.begin_count(key)?;
            let owner = Owner { group: NOBODY, refused: 0, held: 0 };
            self.maps.ports.add(&key.bytes(), &owner.bytes())?;
        }
        Ok(())
    }

    /// The rings of those who have moved out, or whom [`Self::reserve`] found dead.
    ///
    /// # Errors
    /// bpf(2).
    pub fn left_rings(&self) -> io::Result<Vec<[u8; 8]>> {
        let mut left = Vec::new();
        for ring in self.maps.rings.keys()? {
            if self.has_moved_out(&ring)? {
                left.push(ring);
            }
        }
        Ok(left)
    }

    /// Frees those rings. The kernel waits for a grace period of all its CPUs, some 10 ms, for each: a map of maps has
    /// changed.
    ///
    /// # Errors
    /// bpf(2).
    pub fn let_go(&self, rings: &[[u8; 8]]) -> io::Result<()> {
        for ring in rings {
            // The next monitor may have moved into the same group since, while others were waited for.
            if self.has_moved_out(ring)? {
                self.maps.rings.remove(ring)?;
            }
        }
        Ok(())
    }

    /// Whose ring it is moves in before it has one.
    fn has_moved_out(&self, ring: &[u8; 8]) -> io::Result<bool> {
        Ok(self.maps.tenants.get(ring)?.is_none())
    }

    /// Gives a port its owner; from the first one on its connections are counted.
    pub(super) fn set(&self, key: Key, owner: Owner) -> io::Result<()> {
        self.begin_count(key)?;
        self.maps.ports.set(&key.bytes(), &owner.bytes())
    }

    fn begin_count(&self, key: Key) -> io::Result<()> {
        let mut begun = [0; 16];
        begun[8..].copy_from_slice(&clock::wall_millis().to_ne_bytes());
        self.maps.counts.add(&key.bytes(), &begun)
    }

    pub(super) fn free(&self, key: Key) -> io::Result<()> {
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

    pub(super) fn owner(&self, key: Key) -> io::Result<Option<Owner>> {
        Ok(self.maps.ports.get(&key.bytes())?.as_ref().map(Owner::read))
    }

    /// Moves the environment of the cgroup folder `group` in.
    ///
    /// # Errors
    /// bpf(2), mmap(2).
    pub fn enter(self, group: &Path) -> io::Result<Tenant> {
        let id = std::fs::metadata(group)?.ino();
        // Until its list is told.
        let closed = 1 | reach::DECLARED;
        self.maps.tenants.set(&id.to_ne_bytes(), &closed.to_ne_bytes())?;
        self.go_on(group)
    }

    /// The same, for an environment that is behind the wall and runs.
    ///
    /// # Errors
    /// bpf(2), or the group is not there.
    pub fn go_on(self, group: &Path) -> io::Result<Tenant> {
        let id = std::fs::metadata(group)?.ino();
        // A monitor that was killed could not give back what its spec has no more.
        let keys = self.maps.ports.keys()?.into_iter().map(|bytes| Key(u32::from_ne_bytes(bytes)));
        let is_own = |key: &Key| matches!(self.owner(*key), Ok(Some(owner)) if owner.group == id);
        let owned = keys.filter(is_own).map(Port::from).collect();
        Ok(Tenant::new(self, id, owned))
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
