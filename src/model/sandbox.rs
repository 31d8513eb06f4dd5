//! What the cage lets through beyond its defaults.

use serde::{Deserialize, Serialize};

/// `[sandbox]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// System calls that the app may make though the list of the cage refuses them, by name.
    pub allow_syscalls: Vec<String>,
    /// Walls that are left out. Set by tests alone, and heeded by builds for tests alone: see [`Wall`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Wall>,
}

/// A wall of the cage. Tests take one away to see that it is the one that stops an attack; a release build
/// knows no way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// The root built from nothing: without it the app sees the host's files.
    Root,
    /// What is hidden and read-only of `/proc`.
    Proc,
    /// The pid namespace, and the others of its kind.
    Namespaces,
    /// The list of system calls.
    Syscalls,
    /// Landlock.
    Landlock,
    /// `no_new_privs`.
    NewPrivileges,
    /// Who may connect where.
    Connect,
    /// The limits of the cgroup.
    Limits,
}

impl Sandbox {
    /// Whether `wall` stands: always, but in a test.
    #[must_use]
    pub fn has(&self, wall: Wall) -> bool {
        !cfg!(debug_assertions) || !self.without.contains(&wall)
    }
}
