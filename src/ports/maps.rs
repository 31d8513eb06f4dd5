//! The maps of the wall, and the programs that use them.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use super::program;
use super::{count, reach};
use crate::sys::bpf::{self, Hook, Instruction, Map, MapKind};
use crate::sys::ring::Ring;

/// The most ports and environments of one host.
const MOST_PORTS: u32 = 1 << 17;
const MOST_ENVIRONMENTS: u32 = 4096;
const MOST_MARKED: u32 = 1 << 14;
const MOST_REACHED: u32 = 1 << 16;
const MOST_PLACES: u32 = 4096;

/// Where the programs are attached, and how the kernel shows them.
pub const LINKS: [(Hook, &str); 7] = [
    (Hook::Bind4, "swrun_bind4"),
    (Hook::Bind6, "swrun_bind6"),
    (Hook::Connections, "swrun_count"),
    (Hook::Connect4, "swrun_connect4"),
    (Hook::Connect6, "swrun_connect6"),
    (Hook::Send4, "swrun_send4"),
    (Hook::Send6, "swrun_send6"),
];

/// The maps of a wall.
#[derive(Debug)]
pub struct Maps {
    pub ports: Map<4, 24>,
    pub tenants: Map<8, 4>,
    pub rings: Map<8, 4>,
    pub marked: Map<8, 4>,
    /// Port to connections, and when their count began in milliseconds since 1970.
    pub counts: Map<4, 16>,
    /// [`Reach`] to nothing in particular.
    pub allowed: Map<32, 4>,
    /// Prefix length and address to what is there.
    pub places: Map<20, 4>,
}

impl Maps {
    pub fn create() -> io::Result<Self> {
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

    pub fn open(numbers: &[u32; 7]) -> io::Result<Self> {
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

    pub fn descriptors(&self) -> [&OwnedFd; 7] {
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
    pub fn program(&self, hook: Hook, level: u32, cookie: u64) -> Vec<Instruction> {
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
