//! Paths that no profile may open to an app, whatever their owners.

use std::path::Path;

use crate::model::Places;

/// What a path is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// `base` and `cwd`.
    Home,
    /// `writable`.
    Writable,
    /// `read-only`.
    ReadOnly,
}

/// Of the system, with all below.
const TREES: [&str; 5] = ["/boot", "/dev", "/proc", "/root", "/sys"];
/// Of the system with all below, but for reading (programs and their settings are seen anyway).
const TREES_BUT_FOR_READING: [&str; 12] = [
    "/bin",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/run",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/libexec",
    "/usr/sbin",
];
/// Too wide themselves, while a folder below may be right.
const FOLDERS: [&str; 10] =
    ["/", "/etc", "/home", "/run", "/tmp", "/usr", "/var", "/var/lib", "/var/log", "/var/tmp"];

/// Why `path` (absolute, without links) may not be used; none when it may.
pub(super) fn reason(path: &Path, usage: Use, places: &Places) -> Option<String> {
    if let Some(tree) = TREES.iter().find(|tree| path.starts_with(tree)) {
        return Some(format!("nothing in \"{tree}\" is ever opened to an app"));
    }
    let is_reading = usage == Use::ReadOnly;
    let tree = TREES_BUT_FOR_READING.iter().find(|tree| path.starts_with(tree));
    if let Some(tree) = tree.filter(|_| !is_reading) {
        return Some(format!("\"{tree}\" belongs to the system"));
    }
    if FOLDERS.iter().any(|folder| path == Path::new(folder)) {
        return Some("it is far more than one environment's".to_owned());
    }
    // Both ways: what holds swrun's own folders would open them too.
    let own = [places.etc(), places.state(), places.run(), places.all_logs()];
    let own = own.iter().map(|place| place.canonicalize().unwrap_or_else(|_| place.clone()));
    for place in own {
        if path.starts_with(&place) || place.starts_with(path) {
            return Some(format!("swrun's own \"{}\" would be open to the app", place.display()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_folders_are_refused_and_what_lies_beside_them_is_not() {
        let places = Places::below("/");
        let is_refused = |path: &str, usage| reason(Path::new(path), usage, &places).is_some();
        for path in [
            "/",
            "/etc",
            "/root",
            "/root/app",
            "/home",
            "/proc",
            "/proc/1/root",
            "/sys",
            "/dev/shm",
            "/run",
            "/var",
            "/usr",
            "/boot",
            "/var/lib/swrun",
            "/var/lib/swrun/env",
            "/etc/swrun",
            "/run/swrun",
            "/run/swrun/env",
            "/var/log/swrun/a",
            "/tmp",
            "/var/lib",
        ] {
            for usage in [Use::Home, Use::Writable, Use::ReadOnly] {
                assert!(is_refused(path, usage), "{path} {usage:?}");
            }
        }
        for path in
            ["/opt/a", "/srv", "/home/a", "/var/www/a", "/tmp/a", "/usr/local/a", "/rooting"]
        {
            assert!(!is_refused(path, Use::Home), "{path}");
        }
        assert!(is_refused("/etc/ssl", Use::Writable) && !is_refused("/etc/ssl", Use::ReadOnly));

        let places = Places::below("/srv/x");
        let is_refused = |path: &str| reason(Path::new(path), Use::Home, &places).is_some();
        assert!(is_refused("/srv/x/etc/swrun/a") && is_refused("/srv/x") && is_refused("/srv"));
        assert!(!is_refused("/srv/x/app"));
    }
}
