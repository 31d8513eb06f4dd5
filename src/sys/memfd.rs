//! A sealed memfd(2): a message across an exec that nobody can change on the way.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Writes `bytes` into a new memfd and seals it.
///
/// # Errors
/// memfd_create(2), write(2) or fcntl(2).
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let memfd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memfd);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Reads a memfd that [`sealed`] made.
///
/// # Errors
/// It is not sealed, longer than `longest` bytes, or cannot be read.
pub fn read_sealed(memfd: OwnedFd, longest: u64) -> io::Result<Vec<u8>> {
    let mut file = File::from(memfd);
    if !fcntl_get_seals(&file)?.contains(SEALS) {
        return Err(io::Error::other("the message is not sealed"));
    }
    if file.metadata()?.len() > longest {
        return Err(io::Error::other(format!("the message is longer than {longest} bytes")));
    }
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
