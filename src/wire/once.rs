//! What a one-shot instance is made of (`swrun exec`): answered by the runner, handed to the role by the command
//! line in a file of memory.

use std::path::PathBuf;

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
