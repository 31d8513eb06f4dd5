//! What the cage lets through beyond its defaults.

use std::fmt;
use std::net::IpAddr;

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

/// `[network]`: whom the app reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// It has a network of its own, with nothing in it but loopback.
    pub is_private: bool,
    /// It reaches what `allow` lists, and nothing else.
    pub is_declared: bool,
    /// What it may connect to, as the profile has it.
    pub allow: Vec<Target>,
    /// The same, looked up: set by the runner.
    #[serde(default)]
    pub peers: Vec<Peer>,
}

/// A place to connect to, as it is written: `localhost:5432`, `10.0.0.0/8:443`, `[2001:db8::1]:53`, `*:443`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// A name or an address; `None` is any.
    pub host: Option<String>,
    /// The part of its address that counts, in bits, where it is one.
    pub prefix: Option<u8>,
    /// The port; 0 is any.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.map_or_else(String::new, |prefix| format!("/{prefix}"));
        match self.host.as_deref() {
            None => f.write_str("*")?,
            Some(host) if host.contains(':') => write!(f, "[{host}{prefix}]")?,
            Some(host) => write!(f, "{host}{prefix}")?,
        }
        match self.port {
            0 => f.write_str(":*"),
            port => write!(f, ":{port}"),
        }
    }
}

/// A place to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// How many bits of it count.
    pub prefix: u8,
    /// The port; 0 is any.
    pub port: u16,
    /// It was not written out, but is a name's or any: it opens no port of another environment.
    #[serde(default)]
    pub is_loose: bool,
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
    /// The ipc namespace.
    Ipc,
    /// The list of system calls.
    Syscalls,
    /// Landlock.
    Landlock,
    /// Who may connect where.
    Connect,
}

impl Sandbox {
    /// Whether `wall` stands: always, but in a build for tests.
    #[must_use]
    pub fn has(&self, wall: Wall) -> bool {
        !cfg!(debug_assertions) || !self.without.contains(&wall)
    }
}

#[cfg(debug_assertions)]
impl Sandbox {
    /// Leaves out the walls that the variable `SWRUN_WITHOUT` lists, with commas.
    pub fn leave_out(&mut self) {
        let words = std::env::var("SWRUN_WITHOUT").unwrap_or_default();
        let wall =
            |word: &str| serde_json::from_value(serde_json::Value::String(word.to_owned())).ok();
        self.without = words.split(',').filter_map(wall).collect();
    }
}
