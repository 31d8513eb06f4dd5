//! From a profile's text to the resolved spec of an environment, and every problem on the way.
//!
//! `source` opens the file, `file` reads its text, `resolve` looks up users and folders, `check`
//! holds profiles against one another, `env_file` has a `.env` read, `setup` plans what they need on
//! the host. Nothing here changes the host.
#![forbid(unsafe_code)]

mod auto;
mod check;
mod deploy;
mod env_file;
mod file;
mod folders;
mod forbidden;
mod identity;
mod manual;
mod notify;
mod problem;
mod program;
mod resolve;
#[cfg(test)]
mod resolve_tests;
mod schema;
mod setup;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod unknown;
mod values;
mod walk;

pub use auto::assign_auto_uids;
pub use check::{Checked, CheckedProfile, check_all};
pub use env_file::{EnvFileFindings, EnvFileRequest, READER_ROLE, read_env_file, read_env_values};
pub use file::{At, Claims, Profile, ProfileLimits, Reading, UserChoice, read};
pub use manual::manual;
pub use problem::{Position, Problem, Severity};
pub use resolve::{HostFacts, Resolved, resolve};
pub use schema::{KEYS, Key};
pub use setup::{SetupFacts, plan};
pub use source::{LARGEST, Source, Sources, collect, open};
