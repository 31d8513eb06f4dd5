//! `swrun setup`: makes the users, groups and folders that the profiles name.

use crate::cli::args::Setup;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::Output;
use crate::host::setup::apply;
use crate::model::Places;
use crate::profile::{self, HostFacts, Profile, SetupFacts};

/// Makes what is missing, a line each; with `--dry-run` only says so.
pub fn run(places: &Places, args: &Setup, output: &mut Output) -> Ended {
    if !args.dry_run && !rustix::process::geteuid().is_root() {
        return Err(Failure::failed(
            "setup makes users and folders: run it as root (sudo swrun setup), or with --dry-run",
        ));
    }
    let collected = profile::collect(&[places.profiles(), places.ad_hoc_profiles()]);
    let readings: Vec<_> =
        collected.sources.iter().map(|source| profile::read(&source.file, &source.text)).collect();
    let mut errors: Vec<String> = collected.problems.iter().map(ToString::to_string).collect();
    let of_files = readings.iter().flat_map(|reading| &reading.problems);
    errors.extend(of_files.filter(|problem| problem.is_error()).map(ToString::to_string));
    if !errors.is_empty() {
        let text = format!("nothing was done, since profiles have errors:\n{}", errors.join("\n"));
        return Err(Failure::failed(text));
    }
    let profiles: Vec<&Profile> = readings.iter().filter_map(|r| r.profile.as_ref()).collect();
    let host = HostFacts::of_this_host(places.clone());
    let facts = SetupFacts::gather(&profiles, host.auto_uids, places)
        .map_err(|e| Failure::failed(format!("the user database could not be asked: {e}")))?;
    let steps = profile::plan(&profiles, &facts);
    for step in &steps {
        output.line(&step.to_string())?;
        output.flush()?;
        if !args.dry_run {
            apply(step).map_err(|e| {
                Failure::failed(format!(
                    "{e}; what was done stays, and \"swrun setup\" goes on from there"
                ))
            })?;
        }
    }
    if steps.is_empty() {
        output.line(&format!("{} profiles: everything they name is there", profiles.len()))?;
    } else if args.dry_run {
        output.line("nothing was done (--dry-run)")?;
    }
    Ok(Exit::Done)
}
