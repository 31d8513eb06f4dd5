//! Running a program of the host's: the one place where swrun starts something that is not its own.

use std::io;
use std::process::{Command, Stdio};

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
