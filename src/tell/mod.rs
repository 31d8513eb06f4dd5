//! Runs the command of `[notify]` once: as an unprivileged user, in a cgroup of its own, for a limited time. A process
//! of its own, since the monitor has one thread and waits for nobody.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use crate::cgroup;
use crate::sys::command::{self, Restricted};
use crate::sys::{memory, passed};
use crate::wire::tell::{EXIT_LATE, GROUP};

pub use crate::wire::tell::ROLE;

/// Runs the role.
#[must_use]
pub fn main() -> ExitCode {
    let _ = rustix::thread::set_name(c"swrun-tell");
    let _ = memory::set_oom_score(memory::USUAL);
    match tell(std::env::args().skip(2)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("swrun: could not run the command of [notify]: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(mut words: impl Iterator<Item = String>) -> Result<ExitCode, Box<dyn Error>> {
    let mut word = || words.next().ok_or("a word is missing");
    let (uid, gid) = (word()?.parse()?, word()?.parse()?);
    let within = Duration::from_millis(word()?.parse()?);
    let stdin = passed::take(&[word()?.parse()?])?.pop().map(File::from).ok_or("no text")?;
    let program = word()?;
    let arguments: Vec<String> = words.collect();
    // What it leaves behind is ended there, by the monitor.
    let driver = cgroup::detect_own()?;
    let own = driver.own_group()?;
    let base =
        own.parent().filter(|_| own.ends_with("monitor")).ok_or("it is no child of a monitor")?;
    driver.join(&base.join(GROUP), std::process::id())?;
    let restricted = Restricted { uid, gid, stdin, within };
    match command::run_restricted(&program, &arguments, restricted)? {
        Some(status) if status.success() => Ok(ExitCode::SUCCESS),
        Some(status) => {
            eprintln!("swrun: the command of [notify], \"{program}\", failed: {status}");
            Ok(ExitCode::FAILURE)
        }
        None => Ok(ExitCode::from(EXIT_LATE)),
    }
}
