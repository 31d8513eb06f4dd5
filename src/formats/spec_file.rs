//! The resolved spec on disk: the runner writes it, the monitor reads it, both as root.

use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::model::{EnvSpec, SPEC_SCHEMA};
use crate::sys::files;

/// The longest spec, in bytes.
const LONGEST: u64 = 256 << 10;

/// Writes `spec`, whole or not at all, mode 0600 (it holds the values of `[env]`).
///
/// # Errors
/// The file could not be written.
pub fn write(path: &Path, spec: &EnvSpec) -> io::Result<()> {
    files::replace(path, &serde_json::to_vec_pretty(spec)?, 0o600)
}

/// Reads a spec of this version.
///
/// # Errors
/// The file could not be read, is damaged, or is of another version: it is left untouched.
pub fn read(path: &Path) -> io::Result<EnvSpec> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let bytes = files::read_bounded(path, LONGEST)?;
    let damaged =
        |error| io::Error::new(io::ErrorKind::InvalidData, format!("it is damaged: {error}"));
    let version: Version = serde_json::from_slice(&bytes).map_err(damaged)?;
    if version.schema != SPEC_SCHEMA {
        let text = format!(
            "it is of version {}, and this swrun reads version {SPEC_SCHEMA}; start the environment anew with the swrun that is to run it",
            version.schema
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec_for_tests;

    #[test]
    fn a_spec_comes_back_and_a_damaged_or_newer_one_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("shop.spec");
        let spec = spec_for_tests("shop");
        write(&path, &spec).expect("writable");
        assert_eq!(read(&path).expect("just written"), spec);
        let text = std::fs::read_to_string(&path).expect("readable");
        std::fs::write(&path, &text[..text.len() / 2]).expect("writable");
        assert!(read(&path).is_err_and(|e| e.to_string().contains("damaged")));
        std::fs::write(&path, text.replace("\"schema\": 1", "\"schema\": 2")).expect("writable");
        assert!(read(&path).is_err_and(|e| e.to_string().contains("version 2")));
    }
}
