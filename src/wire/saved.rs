//! The list of environments as `swrun save` writes it into a file and `swrun resurrect` reads it.

use serde::{Deserialize, Serialize};

use crate::model::Wanted;

/// The version of the file.
pub const SAVED_SCHEMA: u32 = 1;

/// The longest file that is read, in bytes.
pub const LONGEST: u64 = 16 << 20;

/// The whole list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedList {
    /// Always [`SAVED_SCHEMA`].
    pub schema: u32,
    /// By name.
    pub environments: Vec<SavedEnvironment>,
}

/// One environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedEnvironment {
    /// Its name.
    pub name: String,
    /// What the operator wants of it.
    pub wanted: Wanted,
    /// How many instances were ordered by `scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<u32>,
    /// The profile of an environment that has no file in `/etc` (values of variables among it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}
