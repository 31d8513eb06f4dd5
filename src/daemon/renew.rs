//! The runner's own upgrade: the program that is installed where this one came from takes its place. Environments
//! are not touched: their monitors go on, and the new runner finds them. Nor is who asks something meanwhile: the
//! socket stays open, and the new runner lets in who waits there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::FdFlags;

use crate::sys::{command, files, passed};

/// How long the new program may take to say what it is.
const TRIED_WITHIN: Duration = Duration::from_secs(3);

/// The variable with the number of the socket that goes over to the new program.
const SOCKET: &str = "SWRUN_SOCKET";

/// What takes the runner's place, and what it is given.
#[derive(Debug)]
pub struct Heir {
    /// The program.
    pub program: PathBuf,
    /// The listening socket.
    pub socket: OwnedFd,
}

/// The program that is installed now; `None` where it is the one that runs.
///
/// # Errors
/// It is not there, or others than root could have put it there.
pub fn installed() -> Result<Option<PathBuf>, String> {
    let link = std::fs::read_link("/proc/self/exe")
        .map_err(|e| format!("could not find the runner's own program: {e}"))?;
    // What the kernel says of a file that was replaced (proc_pid_exe(5)).
    let bytes = link.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    let path = PathBuf::from(OsStr::from_bytes(bytes));
    let look = |path: &Path| {
        std::fs::metadata(path)
            .map_err(|e| format!("could not look at the program \"{}\": {e}", path.display()))
    };
    let (there, own) = (look(&path)?, look(Path::new("/proc/self/exe"))?);
    if (there.dev(), there.ino()) == (own.dev(), own.ino()) {
        return Ok(None);
    }
    if let Some((place, who)) = files::changed_by_others(&path).map_err(|e| e.to_string())? {
        return Err(format!(
            "\"{}\" is not executed, since {} can be changed by {who}",
            path.display(),
            place.display()
        ));
    }
    // Of another kind of machine, or with a library that is not there: found out while this one is still here.
    let program = path.to_string_lossy();
    command::run_within(&program, &["--version"], TRIED_WITHIN)
        .map_err(|e| format!("the program that is installed does not run: {e}"))?;
    Ok(Some(path))
}

/// The runner's own program: device and inode. The one that asks may be another.
pub fn own() -> Option<(u64, u64)> {
    let found = std::fs::metadata("/proc/self/exe").ok()?;
    Some((found.dev(), found.ino()))
}

/// Executes it with the arguments of this process; returns only where that failed.
pub fn execute(heir: &Heir) -> String {
    let program = heir.program.as_os_str();
    let failed = |error: io::Error| format!("could not execute \"{}\": {error}", program.display());
    if let Err(error) = rustix::io::fcntl_setfd(&heir.socket, FdFlags::empty()) {
        return failed(error.into());
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let arguments = arguments.iter().map(OsString::as_os_str);
    let socket = (SOCKET, heir.socket.as_raw_fd().to_string());
    failed(command::execute(program, arguments, |key| key == SOCKET, Some(socket)))
}

/// The socket that the program before this one left, if there was one: to be asked once, first of all.
pub fn inherited() -> Option<OwnedFd> {
    let number = std::env::var(SOCKET).ok()?.parse().ok()?;
    passed::take(&[number]).ok()?.pop()
}
