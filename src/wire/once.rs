//! What a one-shot instance is made of (`swrun exec`): answered by the runner, handed to the role by the command
//! line in a file of memory.

use std::io::{Seek as _, Write as _};
use std::path::PathBuf;

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::model::EnvSpec;

/// The word of the hidden role.
pub const ROLE: &str = "__once";

/// An environment's cage, for a command of an operator's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// What it runs with; the values of its variables too, so this goes to root alone.
    pub spec: EnvSpec,
    /// The environment's cgroup below the hierarchies' root; `None` where there is none, and systemd is to
    /// make one.
    pub group: Option<PathBuf>,
    /// The group is not made yet: the environment is stopped.
    pub is_new: bool,
    /// The file that tells of the wall of ports and connections, where it stands.
    pub wall: Option<PathBuf>,
    /// The folders of `/etc` in the cage: of all, and its own.
    pub etc: (PathBuf, PathBuf),
}

/// What the role is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Once {
    /// The cage.
    pub ticket: Ticket,
    /// Program and arguments.
    pub command: Vec<String>,
    /// `TERM` of the operator's terminal, if it gets one of its own.
    pub terminal: Option<String>,
}

/// Has systemd make a scope in the slice of the environments, with cgroups below it that are ours.
pub const SCOPE: [&str; 7] = [
    "systemd-run",
    "--scope",
    "--quiet",
    "--collect",
    "--slice=swrun.slice",
    "--property=Delegate=yes",
    "--",
];

/// The order of the role, to be read from its beginning. Not an argument and not a file: it has the values of variables.
///
/// # Errors
/// memfd_create(2), write(2).
pub fn order(once: &Once, flags: MemfdFlags) -> std::io::Result<std::fs::File> {
    let mut order = std::fs::File::from(rustix::fs::memfd_create("swrun-exec", flags)?);
    order.write_all(&serde_json::to_vec(once)?)?;
    order.rewind()?;
    Ok(order)
}
