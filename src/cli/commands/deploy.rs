//! `swrun deploy` and `rollback`.

use super::order::report;
use crate::cli::args;
use crate::cli::client::{self, PATIENCE};
use crate::cli::exit::Ended;
use crate::cli::output::{Output, say};
use crate::model::Places;
use crate::wire::ask::{Answer, Ask};

/// `swrun deploy`.
pub fn deploy(places: &Places, deploy: &args::Deploy, output: &mut Output) -> Ended {
    let release = Some(deploy.release.clone());
    let target = deploy.environment.clone();
    carry_out(places, &Ask::Deploy { target, release, dry_run: deploy.dry_run }, output)
}

/// `swrun rollback`.
pub fn rollback(places: &Places, rollback: &args::Rollback, output: &mut Output) -> Ended {
    let target = rollback.environment.clone();
    carry_out(places, &Ask::Deploy { target, release: None, dry_run: rollback.dry_run }, output)
}

/// What happens is told with or without a terminal: a build can take long, and a pipeline keeps its words.
fn carry_out(places: &Places, ask: &Ask, output: &mut Output) -> Ended {
    match client::ask(places, ask, PATIENCE, |name, text| say(&format!("{name}: {text}")))? {
        Answer::Done { outcomes } => report(&outcomes, output),
        _ => Err(client::unexpected()),
    }
}
