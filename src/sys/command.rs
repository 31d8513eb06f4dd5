//! Running a program of the host's: the one place where swrun starts something that is not its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs `program` (found in a fixed PATH, with a clean environment) and gives what it wrote.
///
/// # Errors
/// It could not be started, or failed: its own words then.
#[expect(clippy::disallowed_methods, reason = "the one place for it")]
pub fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("\"{program}\" failed ({}): {}", output.status, said.trim())))
}

/// Starts another process of swrun's own that goes on by itself: its own process group, so that a
/// Ctrl-C at this terminal is not for it; its output goes to `log`.
///
/// # Errors
/// It could not be started.
#[expect(clippy::disallowed_methods, reason = "the one place for it")]
pub fn start(program: &Path, arguments: &[&OsStr], log: File) -> io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}
