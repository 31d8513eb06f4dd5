//! The work that everybody is given, one file each.

mod caged;
mod ceiling;
mod commands;
mod crash;
mod cuts;
mod daemonised;
mod growth;
mod idle;
mod lines;
mod load;
mod manager;
mod profile;
mod systemd;
mod throughput;

use crate::lab::Lab;
use crate::result::Run;

type How = fn(&Lab, &mut Run);

/// Name, and how it is done, in the order in which all are.
pub const ALL: &[(&str, How)] = &[
    ("crash", crash::measure),
    ("commands", commands::measure),
    ("idle", idle::measure),
    ("ceiling", ceiling::measure),
    ("load", load::measure),
    ("lines", lines::measure),
    ("manager", manager::measure),
    ("cuts", cuts::measure),
    ("daemonised", daemonised::measure),
    ("throughput", throughput::measure),
    ("caged", caged::measure),
    ("growth", growth::measure),
    ("profile", profile::measure),
    ("systemd", systemd::measure),
    ("emulated", systemd::emulated),
];

/// Of each so many samples.
fn rounds(usually: u32) -> u32 {
    std::env::var("SWRUN_PEERS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usually)
}

/// A moment of quiet between two samples: a manager may tell a crash from a crash loop by it.
fn rest() {
    std::thread::sleep(std::time::Duration::from_millis(1200));
}
