//! The program that attacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bed::Bed;

/// What belongs to the attacks.
pub const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attacks");

/// The probe, built.
pub fn probe(bed: &Bed) -> PathBuf {
    let program = bed.root().join("attack");
    let sources = fs::read_dir(Path::new(HERE).join("probe")).expect("the sources");
    let sources: Vec<PathBuf> = sources
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    let built = Command::new("cc")
        .args(["-O1", "-static", "-pthread", "-o"])
        .arg(&program)
        .args(sources)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cc: install gcc and libc6-dev");
    program
}
