//! Profiles out of what PM2 keeps: its ecosystem files and its saved list (`dump.pm2`).
//!
//! Pure: a text in, drafts of profiles out, each with what could not be carried over and why. What a file says is
//! another's word and may be hostile: it names nothing that is opened here.
//!
//! Source of the formats: PM2 7, `lib/API/schema.json`, `lib/Common.js`, `lib/tools/Config.js`, and its own list as it
//! writes it.
#![forbid(unsafe_code)]

mod apps;
mod command;
mod convert;
mod draft;
mod keys;
mod take;
mod text;
mod variables;
mod yaml;

use std::path::{Path, PathBuf};

pub use apps::Kind;
pub use draft::{Draft, Note};
pub use keys::{Fate, KEYS, Key, find};
pub use text::{Format, parse};

/// The most apps that are taken from one file.
const MOST_APPS: usize = 256;

/// What is known besides the file.
pub struct Facts<'a> {
    /// The file, absolute.
    pub file: &'a Path,
    /// Which `env_NAME` of an ecosystem file counts.
    pub env_name: Option<&'a str>,
    /// Who is to run the apps, whatever the file says.
    pub user: Option<&'a str>,
    /// How many CPUs there are.
    pub cpus: u32,
    /// A variable of the caller's, by name: what is the same in PM2's list came from a shell.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The name of the user that a folder belongs to; `None` where it is root's, or is not there.
    pub owner: &'a dyn Fn(&Path) -> Option<String>,
    /// Whether there is a file at a path.
    pub is_file: &'a dyn Fn(&Path) -> bool,
    /// Whether a file is a program of the machine's own (ELF).
    pub is_binary: &'a dyn Fn(&Path) -> bool,
    /// A program of the operator's own, where the operator's shell finds it and no app does.
    pub program: &'a dyn Fn(&str) -> Option<PathBuf>,
}

/// What a file gives.
#[derive(Debug)]
pub struct Imported {
    /// Which of PM2's files it is.
    pub kind: Kind,
    /// A draft for each app.
    pub drafts: Vec<Draft>,
    /// What stands beside the apps and is not taken.
    pub beside: Vec<String>,
}

/// A draft for each app of a file.
///
/// # Errors
/// It is no such file: what was found instead.
pub fn import(value: serde_json::Value, facts: &Facts<'_>) -> Result<Imported, String> {
    let apps::Found { kind, apps, beside } = apps::of(value)?;
    if apps.len() > MOST_APPS {
        return Err(format!("it has {} apps, at most {MOST_APPS} are taken", apps.len()));
    }
    let mut drafts: Vec<Draft> =
        apps.into_iter().map(|app| convert::convert(app, kind, facts)).collect();
    draft::set_apart(&mut drafts);
    Ok(Imported { kind, drafts, beside })
}

#[cfg(test)]
mod tests;
