//! Keys and values of the maps, as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::program::DATAGRAM;
use crate::model::{Peer, Port, Protocol};

/// The owner of a port whose environment is stopped: no cgroup has this number.
pub const NOBODY: u64 = u64::MAX;

/// A port of one protocol, as the maps have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u32);

impl Key {
    pub fn bytes(self) -> [u8; 4] {
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
pub struct Owner {
    pub group: u64,
    pub refused: u64,
    pub held: u64,
}

impl Owner {
    pub fn bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (to, from) in bytes.chunks_exact_mut(8).zip([self.group, self.refused, self.held]) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        bytes
    }

    pub fn read(bytes: &[u8; 24]) -> Self {
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
pub struct Prefix {
    /// IPv4 mapped.
    pub address: Ipv6Addr,
    /// In bits.
    pub length: u8,
}

impl Prefix {
    pub fn of(address: IpAddr) -> Self {
        Self { address: mapped(address), length: 128 }
    }

    pub fn bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&u32::from(self.length).to_ne_bytes());
        bytes[4..].copy_from_slice(&self.address.octets());
        bytes
    }
}

pub fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Addresses of every host; the unspecified ones lead to it too.
pub const LOOPBACK: [(Ipv6Addr, u8); 7] = [
    (Ipv4Addr::new(127, 0, 0, 0).to_ipv6_mapped(), 104),
    (Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 128),
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::UNSPECIFIED, 128),
    // To many, and so to sockets of this host.
    (Ipv4Addr::new(224, 0, 0, 0).to_ipv6_mapped(), 100),
    (Ipv4Addr::BROADCAST.to_ipv6_mapped(), 128),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// Where clouds tell a machine's credentials to whoever asks: most of them; Amazon's containers; Alibaba; Azure;
/// Amazon over IPv6.
pub const SECRETS: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// What the program looks up: length in bits, environment, port, address.
pub fn key_of(environment: u64, peer: &Peer) -> [u8; 32] {
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
