//! `swrun doctor`.

use crate::cli::args::Doctor;
use crate::cli::exit::{Ended, Failure};
use crate::cli::output::Output;
use crate::model::Places;

/// Says that this build has no such command.
pub fn run(_places: &Places, _args: &Doctor, _output: &mut Output) -> Ended {
    Err(Failure::failed("\"doctor\" is not in this build"))
}
