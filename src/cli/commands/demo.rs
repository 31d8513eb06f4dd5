//! `swrun demo`: only the way into the runner, which is a role of its own.

use crate::cli::args::Demo;
use crate::cli::exit::{Ended, Failure};
use crate::model::Places;

/// Hands over to the runner.
pub fn run(_places: &Places, _args: &Demo) -> Ended {
    // WIRE: `crate::daemon::main(...)` is called here once it is merged.
    Err(Failure::usage("\"demo\" is not in this build"))
}
