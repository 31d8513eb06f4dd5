//! `swrun check`.

use crate::cli::args::Check;
use crate::cli::exit::{Ended, Failure};
use crate::cli::output::Output;
use crate::model::Places;

/// Says that this build has no such command.
pub fn run(_places: &Places, _args: &Check, _output: &mut Output) -> Ended {
    Err(Failure::failed("\"check\" is not in this build"))
}
