//! The program that counts the connections of each reserved port, when the kernel has completed them. The
//! kernel itself keeps no such count of a listening socket.
//!
//! Source: Linux, include/uapi/linux/bpf.h (`struct bpf_sock_ops`, `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`).

use super::assembler::Assembler;
use crate::sys::bpf::Instruction;

/// Offsets in `struct bpf_sock_ops`.
const OPERATION: i16 = 0;
const LOCAL_PORT: i16 = 68;

/// A connection that somebody else opened is complete.
const PASSIVE_ESTABLISHED: i32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done;

/// The program for the network namespace of `cookie`; `counts` is the descriptor of a map of port to
/// count, whose entries it adds to and never makes.
#[must_use]
pub fn connections(counts: i32, cookie: u64) -> Vec<Instruction> {
    let mut a = Assembler::default();
    a.copy(6, 1);
    a.load32(1, 6, OPERATION);
    a.jump_unless(1, PASSIVE_ESTABLISHED, Done);
    a.jump_elsewhere(cookie, Done);
    a.load32(1, 6, LOCAL_PORT);
    a.keep32(-4, 1);
    a.look_up(counts, -4);
    a.jump_if_zero(0, Done);
    a.set(1, 1);
    a.add(0, 0, 1);
    a.label(Done);
    a.end(1);
    a.finish()
}
