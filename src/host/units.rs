//! The units of systemd, for a program that came without the package (`cargo install`).

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::files;

/// Name and text of each, as they are for the package's program.
const UNITS: [(&str, &str); 4] = [
    ("swrun.service", include_str!("../../systemd/swrun.service")),
    ("swrun-env@.service", include_str!("../../systemd/swrun-env@.service")),
    ("swrun-web.service", include_str!("../../systemd/swrun-web.service")),
    ("swrun.slice", include_str!("../../systemd/swrun.slice")),
];

/// Where the units take the program to be.
const PACKAGED: &str = "/usr/bin/swrun";

/// A unit that is to be written.
#[derive(Debug)]
pub struct Unit {
    /// Where.
    pub path: PathBuf,
    text: String,
}

/// The units that are missing below `root`, or are there with another text; they start `program`.
///
/// # Errors
/// In words for the operator: others than root can change the program, its path cannot stand in a unit, or a
/// package has brought the units.
pub fn missing(root: &Path, program: &Path) -> Result<Vec<Unit>, String> {
    let packaged = root.join("usr/lib/systemd/system").join(UNITS[0].0);
    if packaged.exists() {
        return Err(format!(
            "a package has brought the units (\"{}\"): they are its to change",
            packaged.display()
        ));
    }
    if let Some((place, who)) = files::changed_by_others(program).map_err(|e| e.to_string())? {
        return Err(format!(
            "\"{}\" is not to be started as root, since {} can be changed by {who}: \
             \"cargo install --root /usr/local\" puts it where only root may",
            program.display(),
            place.display()
        ));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let Some(name) = program.to_str().filter(|name| name.chars().all(is_plain)) else {
        return Err(format!("the path \"{}\" cannot stand in a unit", program.display()));
    };
    let folder = root.join("etc/systemd/system");
    let units = UNITS
        .iter()
        .map(|(unit, text)| Unit { path: folder.join(unit), text: text.replace(PACKAGED, name) });
    let is_missing =
        |unit: &Unit| !std::fs::read(&unit.path).is_ok_and(|t| t == unit.text.as_bytes());
    Ok(units.filter(is_missing).collect())
}

/// Writes it.
///
/// # Errors
/// As [`files::replace`].
pub fn write(unit: &Unit) -> io::Result<()> {
    files::replace(&unit.path, unit.text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn units_start_the_program_that_writes_them_and_are_written_once() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("etc/systemd/system")).expect("ours");
        let program = root.path().join("swrun-1.0");
        fs::write(&program, "").expect("ours");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
        let units = missing(root.path(), &program).expect("it is root's");
        assert_eq!(units.len(), 4);
        units.iter().for_each(|unit| write(unit).expect("writable"));
        for (name, verb) in [
            ("swrun.service", "daemon"),
            ("swrun-env@.service", "__monitor"),
            ("swrun-web.service", "web"),
        ] {
            let path = root.path().join("etc/systemd/system").join(name);
            let text = fs::read_to_string(path).expect("written");
            let line = format!("ExecStart={} {verb} ", program.display());
            assert!(text.contains(&line) && !text.contains(PACKAGED), "{text}");
        }
        assert!(missing(root.path(), &program).expect("as before").is_empty());
        // One that was changed is written again.
        fs::write(root.path().join("etc/systemd/system/swrun.slice"), "other").expect("ours");
        assert_eq!(missing(root.path(), &program).expect("as before").len(), 1);

        let refused = |program: &Path| missing(root.path(), program).expect_err("refused");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).expect("ours");
        assert!(refused(&program).contains("can be changed by"));
        let odd = root.path().join("a b");
        fs::write(&odd, "").expect("ours");
        assert!(refused(&odd).contains("cannot stand in a unit"));
        fs::create_dir_all(root.path().join("usr/lib/systemd/system")).expect("ours");
        fs::write(root.path().join("usr/lib/systemd/system/swrun.service"), "").expect("ours");
        assert!(refused(&program).contains("a package has brought"));
    }
}
