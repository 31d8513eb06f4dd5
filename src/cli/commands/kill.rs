//! `swrun kill`: stops every environment, then the runner.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::commands::order;
use crate::cli::commands::startup::systemctl_runner;
use crate::cli::exit::Ended;
use crate::cli::output::Output;
use crate::host::is_systemds;
use crate::model::Places;
use crate::sys::files;
use crate::wire::ask::Ask;

/// How long the runner may take to end once it has said that all is done.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Asks the runner to end all, and waits until it has gone itself: who starts another one next finds its place free.
pub fn run(places: &Places, output: &mut Output) -> Ended {
    let ended = order::carry_out(places, &Ask::Kill {}, output)?;
    let deadline = Instant::now() + ENDS_WITHIN;
    let is_there = || matches!(files::lock(&places.lock()), Ok(None));
    while is_there() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    if !is_there() {
        output.line("the runner has ended")?;
    }
    // systemd hears of it a moment later still, and until then takes "systemctl start" for one of a unit that is there.
    if places.root() == Path::new("/") && is_systemds() {
        let _ = systemctl_runner("stop");
    }
    Ok(ended)
}
