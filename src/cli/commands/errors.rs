//! `swrun errors`: the last lines that environments wrote to stderr; it does not follow.

use crate::cli::args::{Errors, Logs};
use crate::cli::commands::logs;
use crate::cli::exit::Ended;
use crate::cli::output::Output;
use crate::model::Places;

/// Shows error lines.
pub fn run(places: &Places, errors: &Errors, output: &mut Output) -> Ended {
    let logs = Logs {
        selection: errors.selection.clone(),
        lines: errors.lines,
        err: true,
        nostream: true,
        ..Logs::default()
    };
    logs::run(places, &logs, output)
}
