//! What a monitor leaves for the next one: counts and the last end, so that a kill loses nothing. The
//! runner looks into it while an environment rests.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::LastExit;
use crate::sys::{clock, files};

const SCHEMA: u32 = 1;
const LONGEST: u64 = 64 << 10;

/// The saved form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The version of the file.
    pub schema: u32,
    /// The number of the next instance.
    pub next_id: u32,
    /// Restarts since `start`.
    pub restarts: u32,
    /// How the last instance ended.
    pub last_exit: Option<LastExit>,
    /// Whether instances were kept when this was written: true after a kill of the monitor.
    pub was_running: bool,
    /// The instances that lived when this was written: after a kill of the monitor they died with it.
    #[serde(default)]
    pub live: Vec<u32>,
    /// There was to be no next try, until an order or a boot.
    #[serde(default)]
    pub rest: Option<Rest>,
}

/// An environment that gave up, or whose policy wants no restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// Why.
    pub reason: String,
    /// It gave up.
    pub gave_up: bool,
    /// In which boot of the host (proc_sys_kernel(5), `random/boot_id`).
    pub boot: String,
}

/// This boot of the host; empty where the kernel does not say, which no other boot is.
#[must_use]
pub fn this_boot() -> String {
    clock::boot_id().unwrap_or_default()
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            next_id: 1,
            restarts: 0,
            last_exit: None,
            was_running: false,
            live: Vec::new(),
            rest: None,
        }
    }
}

/// Looks into it and changes nothing.
///
/// # Errors
/// There is none, it could not be read, or not be understood (`InvalidData`).
pub fn look(path: &Path) -> io::Result<Memory> {
    let bytes = files::read_bounded(path, LONGEST)?;
    let why = match serde_json::from_slice::<Memory>(&bytes) {
        Ok(memory) if memory.schema == SCHEMA => return Ok(memory),
        Ok(memory) => format!("it is of version {}, this is version {SCHEMA}", memory.schema),
        Err(error) => error.to_string(),
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Reads it for a new monitor. A file that cannot be understood is set aside beside itself and said;
/// none is the beginning.
///
/// # Errors
/// The file could not be read or set aside.
pub fn read(path: &Path) -> io::Result<(Memory, Option<String>)> {
    let why = match look(path) {
        Ok(memory) => return Ok((memory, None)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Memory::default(), None));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => error,
        Err(error) => return Err(error),
    };
    let aside = files::set_aside(path)?;
    let text = format!(
        "\"{}\" could not be understood ({why}): it is kept as \"{}\", and counting begins anew",
        path.display(),
        aside.display()
    );
    Ok((Memory::default(), Some(text)))
}

/// Writes it, without waiting for the disk: it lies on the way of every restart.
///
/// # Errors
/// The file could not be written.
pub fn write(path: &Path, memory: &Memory) -> io::Result<()> {
    files::replace_lightly(path, &serde_json::to_vec(memory)?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_memory_is_kept_aside_and_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("shop.state");
        let memory = Memory { next_id: 9, restarts: 3, ..Memory::default() };
        write(&path, &memory).expect("writable");
        assert_eq!(read(&path).expect("readable"), (memory, None));
        for broken in [
            "{\"schema\":1,\"next",
            "",
            "{\"schema\":2,\"next_id\":1,\"restarts\":0,\"last_exit\":null,\"was_running\":false}",
        ] {
            std::fs::write(&path, broken).expect("writable");
            let (memory, said) = read(&path).expect("set aside");
            assert_eq!(memory, Memory::default());
            assert!(said.is_some_and(|text| text.contains("could not be understood")));
            let aside = std::fs::read_to_string(folder.path().join("shop.state.damaged"));
            assert_eq!(aside.expect("kept"), broken);
        }
    }
}
