//! The group of operators on this host.

use nix::unistd::Group;

/// Its members may look at environments, start and stop them, and read their logs.
pub const OPERATORS: &str = "swrun";

/// Its number, if the host has it.
#[must_use]
pub fn operators() -> Option<u32> {
    Group::from_name(OPERATORS).ok().flatten().map(|group| group.gid.as_raw())
}
