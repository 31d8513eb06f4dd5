//! Two settings of the host's network that owned ports need: merged with what is there, noted, undone.
//!
//! Source: Linux, Documentation/networking/ip-sysctl.rst: `tcp_migrate_req` (a queue goes over to another
//! socket of the group when its own closes), `ip_local_reserved_ports` (never chosen as ephemeral).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::files;

/// What was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Changed {
    /// `tcp_migrate_req` as it was before.
    migrate: Option<String>,
    /// Ports that were not reserved before.
    reserved: BTreeSet<u16>,
}

/// The settings of a network namespace, and where it is noted what was changed.
#[derive(Debug, Clone)]
pub struct Settings {
    folder: PathBuf,
    note: PathBuf,
}

impl Settings {
    /// Those in `folder` (`/proc/sys/net/ipv4`: of the reader's own namespace).
    #[must_use]
    pub fn new(folder: &Path, note: &Path) -> Self {
        Self { folder: folder.to_owned(), note: note.to_owned() }
    }

    /// Makes queues go over, and keeps `ports` from being chosen as ephemeral.
    ///
    /// # Errors
    /// A setting could not be read or written (a container may see them read-only).
    pub fn apply(&self, ports: &BTreeSet<u16>) -> io::Result<()> {
        let mut changed = self.changed();
        let migrate = self.read("tcp_migrate_req")?;
        let mut current = parse(&self.read("ip_local_reserved_ports")?);
        current.retain(|port| !changed.reserved.contains(port) || ports.contains(port));
        let added: BTreeSet<u16> = ports.difference(&current).copied().collect();
        changed.reserved.retain(|port| ports.contains(port));
        changed.reserved.extend(&added);
        if migrate != "1" && changed.migrate.is_none() {
            changed.migrate = Some(migrate.clone());
        }
        // Noted before it is done: what is undone and was not done is no harm.
        files::replace_lightly(&self.note, &serde_json::to_vec(&changed)?, 0o600)?;
        if migrate != "1" {
            self.write("tcp_migrate_req", "1")?;
        }
        current.extend(added);
        self.write("ip_local_reserved_ports", &print(&current))
    }

    /// Puts back what was changed, and leaves what others changed since.
    ///
    /// # Errors
    /// A setting could not be read or written.
    pub fn undo(&self) -> io::Result<()> {
        let changed = self.changed();
        if let Some(before) = &changed.migrate {
            self.write("tcp_migrate_req", before)?;
        }
        if !changed.reserved.is_empty() {
            let mut current = parse(&self.read("ip_local_reserved_ports")?);
            current.retain(|port| !changed.reserved.contains(port));
            self.write("ip_local_reserved_ports", &print(&current))?;
        }
        files::remove_if_there(&self.note)
    }

    fn changed(&self) -> Changed {
        let bytes = files::read_bounded(&self.note, 4 << 20).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn read(&self, name: &str) -> io::Result<String> {
        Ok(std::fs::read_to_string(self.folder.join(name))?.trim().to_owned())
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        std::fs::write(self.folder.join(name), format!("{value}\n"))
    }
}

/// Ports and ranges, with commas between.
fn parse(text: &str) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            ports.extend(first..=last);
        }
    }
    ports
}

fn print(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(*port) => *last = *port,
            _ => ranges.push((*port, *port)),
        }
    }
    let text = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path, migrate: &str, reserved: &str) -> Settings {
        std::fs::write(folder.join("tcp_migrate_req"), migrate).expect("our own folder");
        std::fs::write(folder.join("ip_local_reserved_ports"), reserved).expect("our own folder");
        Settings::new(folder, &folder.join("note"))
    }

    #[track_caller]
    fn are(settings: &Settings, migrate: &str, reserved: &str) {
        assert_eq!(settings.read("tcp_migrate_req").expect("there"), migrate);
        assert_eq!(settings.read("ip_local_reserved_ports").expect("there"), reserved);
    }

    #[test]
    fn what_was_there_stays_and_what_was_added_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), "0\n", "3000,8080-8082\n");
        settings.apply(&[3000, 3001, 3002].into()).expect("writable");
        are(&settings, "1", "3000-3002,8080-8082");
        // A port fewer, one more; and somebody else adds one.
        std::fs::write(folder.path().join("ip_local_reserved_ports"), "3000-3002,8080-8082,9000\n")
            .expect("our own folder");
        settings.apply(&[3000, 3002, 4000].into()).expect("writable");
        are(&settings, "1", "3000,3002,4000,8080-8082,9000");
        settings.undo().expect("writable");
        are(&settings, "0", "3000,8080-8082,9000");
        settings.undo().expect("nothing to do");
        are(&settings, "0", "3000,8080-8082,9000");
    }

    #[test]
    fn a_host_that_had_it_so_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), "1\n", "\n");
        settings.apply(&[65535, 1].into()).expect("writable");
        are(&settings, "1", "1,65535");
        settings.undo().expect("writable");
        are(&settings, "1", "");
    }
}
