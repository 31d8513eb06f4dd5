//! The program that decides who may bind which port, in the kernel, at every bind(2) of an IPv4 or IPv6
//! socket below the cgroup it is attached to.
//!
//! ```text
//! another network namespace, or port 0 ──────────────────────────────► allowed
//! the port is owned:   by the caller's environment ── TCP: SO_REUSEPORT ► allowed, below 1024 too
//!                      by another, or by one that is stopped ──────────► refused (EACCES), told
//! the port is nobody's: the caller is in an environment ───────────────► refused (EACCES), told
//!                       it is not ─────────────────────────────────────► allowed
//! ```
//!
//! The port is read from the kernel's copy of the address, once, so it cannot change between check and
//! use. Source: Linux, include/uapi/linux/bpf.h (`struct bpf_sock_addr`, the helpers),
//! Documentation/bpf/standardization/instruction-set.rst.

use super::assembler::Assembler;
use crate::sys::bpf::Instruction;

/// The maps that the program uses, by the numbers of their descriptors.
#[derive(Debug, Clone, Copy)]
pub struct Maps {
    /// Key to its owner.
    pub ports: i32,
    /// The environments.
    pub tenants: i32,
    /// Environment to its ring of refusals; one that has just moved in has none yet.
    pub rings: i32,
    /// Cookies of sockets that got SO_REUSEPORT here.
    pub marked: i32,
}

/// The helpers of such programs (`enum bpf_func_id`).
pub mod call {
    #![allow(missing_docs, reason = "the names are the kernel's")]

    pub const MAP_UPDATE: i32 = 2;
    pub const CURRENT_PID_TGID: i32 = 14;
    pub const CURRENT_UID_GID: i32 = 15;
    pub const CURRENT_COMM: i32 = 16;
    pub const SOCKET_COOKIE: i32 = 46;
    pub const SETSOCKOPT: i32 = 49;
    pub const GETSOCKOPT: i32 = 57;
    pub const CURRENT_ANCESTOR_CGROUP: i32 = 123;
    pub const RING_OUTPUT: i32 = 130;
    pub const SET_RETVAL: i32 = 187;
}

/// Offsets in `struct bpf_sock_addr`.
pub const USER_PORT: i16 = 24;
/// The kind of the socket.
pub const TYPE: i16 = 32;

/// Places below the stack's top (R10).
mod at {
    pub const KEY: i16 = -4;
    pub const OPTION: i16 = -8;
    pub const ENVIRONMENT: i16 = -16;
    pub const COOKIE: i16 = -24;
    pub const RECORD: i16 = -72;
}

const SOL_SOCKET: i32 = 1;
const SO_REUSEPORT: i32 = 15;

/// The bit of a key that tells a datagram port from a stream port.
pub const DATAGRAM: u32 = 1 << 16;

/// Offsets in the value of `ports`, and the bit that asks for SO_REUSEPORT.
pub const OWNER: i16 = 0;
/// How often a stranger was refused.
pub const REFUSED: i16 = 8;
/// Whether the monitor holds what is listened on.
pub const HELD: i16 = 16;

/// The length of a record in a ring.
const RECORD_BYTES: i32 = 48;

/// A place to jump to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Unowned,
    Owner,
    Done,
    Stranger,
    Report,
    Deny,
    Allow,
}

/// The program for environments whose cgroups are `level` below the root of the v2 tree, and for the
/// network namespace of `cookie` (socket(7), `SO_NETNS_COOKIE`).
#[must_use]
pub fn bind(maps: Maps, level: u32, cookie: u64) -> Vec<Instruction> {
    let mut a = Assembler::default();
    // R6: the context. A container's ports are none of our business.
    a.copy(6, 1);
    a.jump_elsewhere(cookie, Label::Allow);

    // R8: the key. Port 0 asks for any free one.
    a.load32(8, 6, USER_PORT);
    a.push(0xdc, 8, 0, 0, 16);
    a.jump_if_zero(8, Label::Allow);
    a.load32(1, 6, TYPE);
    a.push(0x15, 1, 0, 1, 1);
    a.push(0x47, 8, 0, 0, DATAGRAM.cast_signed());
    a.keep32(at::KEY, 8);

    // R9: the caller's environment, or what is as deep; 0 for what is not so deep.
    a.set(1, level.cast_signed());
    a.call(call::CURRENT_ANCESTOR_CGROUP);
    a.keep64(at::ENVIRONMENT, 0);
    a.copy(9, 0);
    a.look_up(maps.ports, at::KEY);
    a.jump_if_zero(0, Label::Unowned);
    // R7: who owns it.
    a.copy(7, 0);
    a.load64(1, 7, OWNER);
    a.jump_if_equal(1, 9, Label::Owner);

    // Another's. Counted there; told to the caller's environment, or to the owner where it has none.
    a.set(1, 1);
    a.add(7, REFUSED, 1);
    a.look_up(maps.rings, at::ENVIRONMENT);
    a.put32(at::RECORD + 12, 0);
    a.jump_if_not_zero(0, Label::Report);
    a.go(Label::Stranger);

    a.label(Label::Unowned);
    a.look_up(maps.tenants, at::ENVIRONMENT);
    a.jump_if_zero(0, Label::Allow);
    a.look_up(maps.rings, at::ENVIRONMENT);
    a.jump_if_zero(0, Label::Deny);
    a.put32(at::RECORD + 12, 0);
    a.go(Label::Report);

    a.label(Label::Stranger);
    a.load64(1, 7, OWNER);
    a.keep64(at::ENVIRONMENT, 1);
    a.look_up(maps.rings, at::ENVIRONMENT);
    a.jump_if_zero(0, Label::Deny);
    a.put32(at::RECORD + 12, 1);

    // R0: a ring. The record: pid, uid, key, whether it was a stranger, the program's name.
    a.label(Label::Report);
    tell(&mut a, at::RECORD, None);
    a.label(Label::Deny);
    refuse(&mut a);

    // The owner. A held socket is still bound when the next instance binds beside it; which sockets did
    // not ask for that themselves is remembered.
    a.label(Label::Owner);
    a.load64(1, 7, HELD);
    a.jump_if_zero(1, Label::Done);
    for (helper, value) in [(call::GETSOCKOPT, 0), (call::SETSOCKOPT, 1)] {
        a.put32(at::OPTION, value);
        a.copy(1, 6);
        a.set(2, SOL_SOCKET);
        a.set(3, SO_REUSEPORT);
        a.address(4, at::OPTION);
        a.set(5, 4);
        a.call(helper);
        if helper == call::GETSOCKOPT {
            a.load32(1, 10, at::OPTION);
            a.jump_if_not_zero(1, Label::Done);
        } else {
            a.jump_if_not_zero(0, Label::Done);
        }
    }
    a.copy(1, 6);
    a.call(call::SOCKET_COOKIE);
    a.keep64(at::COOKIE, 0);
    a.map(1, maps.marked);
    a.address(2, at::COOKIE);
    a.address(3, at::OPTION);
    a.set(4, 0);
    a.call(call::MAP_UPDATE);
    // 3: allowed, and below 1024 without a capability.
    a.label(Label::Done);
    a.end(3);
    a.label(Label::Allow);
    a.end(1);
    a.finish()
}

/// Tells the ring in R0 of what is refused: pid, uid, the key in R8, what the caller of this has put at `record` + 12,
/// the program's name, and the address at `address` of a connection. Takes R9.
pub fn tell<Label: Copy + PartialEq>(a: &mut Assembler<Label>, record: i16, address: Option<i16>) {
    a.copy(9, 0);
    a.call(call::CURRENT_PID_TGID);
    a.push(0x77, 0, 0, 0, 32);
    a.keep32(record, 0);
    a.call(call::CURRENT_UID_GID);
    a.keep32(record + 4, 0);
    a.keep32(record + 8, 8);
    a.address(1, record + 16);
    a.set(2, 16);
    a.call(call::CURRENT_COMM);
    for word in [0, 4, 8, 12] {
        match address {
            Some(address) => {
                a.load32(1, 10, address + word);
                a.keep32(record + 32 + word, 1);
            }
            None => a.put32(record + 32 + word, 0),
        }
    }
    a.copy(1, 9);
    a.address(2, record);
    a.set(3, RECORD_BYTES);
    a.set(4, 0);
    a.call(call::RING_OUTPUT);
}

/// EACCES.
pub fn refuse<Label: Copy + PartialEq>(a: &mut Assembler<Label>) {
    a.set(1, -libc::EACCES);
    a.call(call::SET_RETVAL);
    a.end(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_leads_forward_to_an_instruction() {
        let code = bind(Maps { ports: 3, tenants: 6, rings: 4, marked: 5 }, 2, 1);
        for (index, instruction) in code.iter().enumerate() {
            let class = instruction.code & 7;
            let is_jump = class == 5 && ![0x85, 0x95].contains(&instruction.code);
            if is_jump {
                let to = index + 1 + usize::try_from(instruction.offset).expect("forward");
                assert!(to < code.len(), "{index}: {instruction:?}");
            }
        }
        assert!(code.len() < 128, "{}", code.len());
    }
}
