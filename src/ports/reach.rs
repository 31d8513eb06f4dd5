//! The program that decides which addresses an environment may reach: at connect(2), and at sendto(2) and its
//! kin of a datagram socket that is not connected.
//!
//! ```text
//! another network namespace, or no environment ──────────────────────────► allowed
//! the environment's own list has address and port written out ───────────► allowed
//! an address of this host:  a port of another environment ───────────────► refused
//!                           its own port ────────────────────────────────► allowed
//! where a cloud tells its secrets, but for names (port 53) ──────────────► refused
//! the list has it by a name or for all addresses ────────────────────────► allowed
//! all else:  its profile declares what it connects to ───────────────────► refused
//!            else ───────────────────────────────────────────────────────► allowed
//! ```
//!
//! Addresses are looked up in the form of IPv6, those of IPv4 mapped (RFC 4291, 2.5.5.2). Source: Linux,
//! include/uapi/linux/bpf.h (`struct bpf_sock_addr`, `struct bpf_lpm_trie_key`).

use super::assembler::Assembler;
use super::program::{DATAGRAM, TYPE, USER_PORT, call, refuse, tell};
use crate::sys::bpf::Instruction;

/// The maps that the program uses, by the numbers of their descriptors.
#[derive(Debug, Clone, Copy)]
pub struct Maps {
    /// Port to owner.
    pub ports: i32,
    /// Environments, with [`DECLARED`].
    pub tenants: i32,
    /// Environment to its ring.
    pub rings: i32,
    /// Environment, port and address to what is allowed.
    pub allowed: i32,
    /// Address to [`LOCAL`] or [`SECRET`].
    pub places: i32,
}

/// The environment reaches what its profile declares, and nothing else.
pub const DECLARED: u32 = 2;

/// An entry of the list whose address was written out: it is reached whatever is there.
pub const WRITTEN: u32 = 1;
/// One of a name, which somebody else may lead anywhere, or of all addresses: it opens no port of another
/// environment and no secret.
pub const LOOSE: u32 = 2;

/// An address of this host.
pub const LOCAL: u32 = 1;
/// An address where a cloud tells its secrets to whoever asks.
pub const SECRET: u32 = 2;

/// The kind of a refused connection in a ring, where a bind has 0 or 1.
pub const CONNECTION: u32 = 2;

const USER_IP4: i16 = 4;
const USER_IP6: i16 = 8;

/// Places below the stack's top (R10). The address is the end of both its keys.
mod at {
    pub const ADDRESS: i16 = -16;
    /// Port of the longer key; the shorter key has its length here.
    pub const PORT: i16 = -20;
    pub const OF: i16 = -28;
    pub const LENGTH: i16 = -32;
    pub const ENVIRONMENT: i16 = -40;
    pub const KEY: i16 = -44;
    /// The list has it, but not written out.
    pub const LOOSE: i16 = -48;
    pub const RECORD: i16 = -96;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    AnyPort,
    Place,
    Here,
    Secret,
    Elsewhere,
    Refuse,
    Deny,
    Allow,
}

/// The program for environments whose cgroups are `level` below the root of the v2 tree, and for the network
/// namespace of `cookie`; `is_v6` for hooks of IPv6.
#[must_use]
pub fn connect(maps: Maps, level: u32, cookie: u64, is_v6: bool) -> Vec<Instruction> {
    let mut a = Assembler::default();
    a.copy(6, 1);
    a.set(1, level.cast_signed());
    a.call(call::CURRENT_ANCESTOR_CGROUP);
    // R9: the caller's environment. R7: how it is held.
    a.keep64(at::ENVIRONMENT, 0);
    a.copy(9, 0);
    a.look_up(maps.tenants, at::ENVIRONMENT);
    a.jump_if_zero(0, Label::Allow);
    a.load32(7, 0, 0);
    a.jump_elsewhere(cookie, Label::Allow);

    // R8: the port.
    a.load32(8, 6, USER_PORT);
    a.push(0xdc, 8, 0, 0, 16);
    if is_v6 {
        for word in 0..4 {
            a.load32(1, 6, USER_IP6 + 4 * word);
            a.keep32(at::ADDRESS + 4 * word, 1);
        }
    } else {
        a.put32(at::ADDRESS, 0);
        a.put32(at::ADDRESS + 4, 0);
        a.put32(at::ADDRESS + 8, 0xffff_u32.to_be().cast_signed());
        a.load32(1, 6, USER_IP4);
        a.keep32(at::ADDRESS + 12, 1);
    }
    a.put32(at::LENGTH, 224);
    a.copy(1, 9);
    a.keep32(at::OF, 1);
    a.push(0x77, 1, 0, 0, 32);
    a.keep32(at::OF + 4, 1);
    a.keep32(at::PORT, 8);
    a.put32(at::LOOSE, 0);
    for next in [Label::AnyPort, Label::Place] {
        a.look_up(maps.allowed, at::LENGTH);
        a.jump_if_zero(0, next);
        a.load32(1, 0, 0);
        a.jump(0x15, 1, 0, WRITTEN.cast_signed(), Label::Allow);
        a.put32(at::LOOSE, 1);
        // Once more for any port.
        a.label(next);
        a.put32(at::PORT, 0);
    }

    a.put32(at::PORT, 128);
    a.look_up(maps.places, at::PORT);
    a.jump_if_zero(0, Label::Elsewhere);
    a.load32(1, 0, 0);
    a.jump(0x15, 1, 0, LOCAL.cast_signed(), Label::Here);
    a.go(Label::Secret);

    a.label(Label::Here);
    a.keep32(at::KEY, 8);
    a.load32(1, 6, TYPE);
    a.push(0x15, 1, 0, 3, 1);
    a.copy(1, 8);
    a.push(0x47, 1, 0, 0, DATAGRAM.cast_signed());
    a.keep32(at::KEY, 1);
    a.look_up(maps.ports, at::KEY);
    a.jump_if_zero(0, Label::Elsewhere);
    a.load64(1, 0, 0);
    a.jump_if_equal(1, 9, Label::Allow);
    a.go(Label::Refuse);

    a.label(Label::Secret);
    a.jump_unless(8, 53, Label::Refuse);

    a.label(Label::Elsewhere);
    a.load32(1, 10, at::LOOSE);
    a.jump_if_not_zero(1, Label::Allow);
    a.push(0x57, 7, 0, 0, DECLARED.cast_signed());
    a.jump_if_not_zero(7, Label::Refuse);
    a.label(Label::Allow);
    a.end(1);

    a.label(Label::Refuse);
    a.look_up(maps.rings, at::ENVIRONMENT);
    a.jump_if_zero(0, Label::Deny);
    // Of the port alone, or of datagrams: as in a bind.
    a.load32(1, 6, TYPE);
    a.push(0x15, 1, 0, 1, 1);
    a.push(0x47, 8, 0, 0, DATAGRAM.cast_signed());
    a.put32(at::RECORD + 12, CONNECTION.cast_signed());
    tell(&mut a, at::RECORD, Some(at::ADDRESS));
    a.label(Label::Deny);
    refuse(&mut a);
    a.finish()
}
