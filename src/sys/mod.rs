//! Raw system calls, the only unsafe code: what nix, rustix and std do not offer in a safe form,
//! and the small wrappers that belong beside it.

pub mod acl;
pub mod bpf;
pub mod channel;
pub mod clock;
pub mod command;
pub mod command_line;
pub mod files;
pub mod fork;
pub mod groups;
pub mod keyring;
pub mod landlock;
pub mod memory;
pub mod mount;
pub mod notify;
pub mod passed;
pub mod readiness;
pub mod ring;
pub mod signals;
pub mod sockets;
pub mod trace;
