//! `swrun kill`: stops every environment, then the runner.

use crate::cli::commands::order;
use crate::cli::exit::Ended;
use crate::cli::output::Output;
use crate::model::Places;
use crate::wire::ask::Ask;

/// Asks the runner to end all.
pub fn run(places: &Places, output: &mut Output) -> Ended {
    order::carry_out(places, &Ask::Kill {}, output)
}
