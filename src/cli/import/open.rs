//! Reads a file of another's: who calls this may be root, and the file somebody's.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The most that is read: PM2's list has some 10 KiB for each instance.
const MOST: u64 = 16 << 20;

/// The text of `file`.
///
/// # Errors
/// It cannot be read, or others can write it: what it says would be theirs.
pub fn read(file: &Path) -> Result<String, String> {
    // Not led on by a link, not blocked by a pipe, no terminal taken.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(file, flags, Mode::empty()) {
        Ok(opened) => File::from(opened),
        Err(rustix::io::Errno::LOOP) => return Err("is a link: name the file itself".to_owned()),
        Err(error) => return Err(format!("cannot be opened: {}", std::io::Error::from(error))),
    };
    let found = opened.metadata().map_err(|e| format!("cannot be looked at: {e}"))?;
    if !found.is_file() {
        return Err("is no regular file".to_owned());
    }
    if found.mode() & 0o022 != 0 {
        return Err(format!(
            "can be written by others (mode {:04o}): look at what it says, then chmod go-w",
            found.mode() & 0o7777
        ));
    }
    let mut bytes = Vec::new();
    opened.take(MOST + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > MOST {
        return Err("is larger than 16 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "is no text of UTF-8".to_owned())
}
