//! `swrun setup`.

use crate::cli::args::Setup;
use crate::cli::exit::{Ended, Failure};
use crate::cli::output::Output;
use crate::model::Places;

/// Says that this build has no such command.
pub fn run(_places: &Places, _args: &Setup, _output: &mut Output) -> Ended {
    Err(Failure::failed("\"setup\" is not in this build"))
}
