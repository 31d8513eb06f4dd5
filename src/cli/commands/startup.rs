//! `swrun startup`, `unstartup`: whether the runner is started at boot, by systemd. What was wanted is back then.

use std::io;

use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::Output;
use crate::host::is_systemds;
use crate::sys::command;

/// The runner's unit.
const UNIT: &str = "swrun.service";

/// What `systemctl VERB` does to the runner's unit.
///
/// # Errors
/// In its words, or it could not be run.
pub fn systemctl_runner(verb: &str) -> io::Result<String> {
    command::run("systemctl", &[verb, "--quiet", UNIT])
}

/// Enables it, or disables it; what is done is shown, and done again it changes nothing.
pub fn run(enable: bool, output: &mut Output) -> Ended {
    if !is_systemds() {
        return Err(Failure::failed(
            "this host was not booted by systemd: let its init start \"swrun daemon\" at boot",
        ));
    }
    let verb = if enable { "enable" } else { "disable" };
    output.line(&format!("systemctl {verb} {UNIT}"))?;
    systemctl_runner(verb).map_err(|error| {
        Failure::failed(format!("{error} (are the units of swrun installed, and is this root?)"))
    })?;
    let state = match command::run("systemctl", &["is-enabled", UNIT]) {
        Ok(state) => state.trim().to_owned(),
        // It says so by its exit status too.
        Err(_) => "disabled".to_owned(),
    };
    let what = if enable {
        "the runner is started at boot, and what was wanted runs again"
    } else {
        "the runner is not started at boot; what runs goes on"
    };
    output.line(&format!("{UNIT} is {state}: {what}"))?;
    Ok(Exit::Done)
}
