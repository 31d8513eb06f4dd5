//! A network namespace of a test's own: its ports and settings are no other test's, and not the host's.
#![allow(dead_code, reason = "included by what may not use it")]

use std::cell::Cell;
use std::process::Command;

/// Moves this thread into a new one, with its loopback up, unless it is in its own already. Children and
/// threads started from here on are in it too. A machine of one's own (`SWRUN_OWN_MACHINE`) is enough by itself: its
/// systemd starts services in the first namespace.
pub fn enter() {
    thread_local! {
        static IS_IN: Cell<bool> = const { Cell::new(false) };
    }
    if IS_IN.replace(true) || std::env::var_os("SWRUN_OWN_MACHINE").is_some() {
        return;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root may");
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(status.is_ok_and(|status| status.success()), "ip link set lo up: install iproute2");
}
