//! A copy of the program where another can be put in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::bed;

/// Puts a new file in the program's place, as a package does. By a process of its own: a descriptor of ours, open for
/// writing in a fork of another test's, would keep it from being executed (ETXTBSY).
pub fn install(program: &Path) {
    let new = program.with_extension("new");
    let copied = Command::new("cp").arg(bed::swrun()).arg(&new).status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("ours");
    fs::rename(&new, program).expect("our own folder");
}
