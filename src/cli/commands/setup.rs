//! `swrun setup`: makes the users, groups and folders that the profiles name.

use std::path::Path;

use nix::unistd::{Group, User};

use crate::cli::args::Setup;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::Output;
use crate::host::setup::apply;
use crate::host::units;
use crate::model::{Places, SetupStep};
use crate::profile::{self, HostFacts, Profile, SetupFacts};
use crate::sys::{command, files, groups};

/// Makes what is missing, a line each; with `--dry-run` only says so.
pub fn run(places: &Places, args: &Setup, output: &mut Output) -> Ended {
    if !args.dry_run && !rustix::process::geteuid().is_root() {
        return Err(Failure::failed(
            "setup makes users and folders: run it as root (sudo swrun setup), or with --dry-run",
        ));
    }
    if args.system {
        write_units(places, args.dry_run, output)?;
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
    if let Some(folder) = &args.utils {
        write_utils(folder, args.dry_run, output)?;
    }
    let profiles: Vec<&Profile> = readings.iter().filter_map(|r| r.profile.as_ref()).collect();
    let host = HostFacts::of_this_host(places.clone());
    let facts = SetupFacts::gather(&profiles, host.auto_uids, places)
        .map_err(|e| Failure::failed(format!("the user database could not be asked: {e}")))?;
    let mut steps = profile::plan(&profiles, &facts);
    if args.web {
        steps.extend(
            user_of_page().map_err(|e| {
                Failure::failed(format!("the user database could not be asked: {e}"))
            })?,
        );
    }
    for step in &steps {
        take(step, args.dry_run, output)?;
    }
    if steps.is_empty() {
        output.line(&format!("{} profiles: everything they name is there", profiles.len()))?;
    } else if args.dry_run {
        output.line("nothing was done (--dry-run)")?;
    }
    Ok(Exit::Done)
}

/// The step that makes the user of `swrun web`, where it is missing.
fn user_of_page() -> nix::Result<Option<SetupStep>> {
    let name = groups::WATCHERS.to_owned();
    if User::from_name(&name)?.is_some() {
        return Ok(None);
    }
    let has_group = Group::from_name(&name)?.is_some();
    Ok(Some(SetupStep::MakeUser { name, home: "/nonexistent".into(), has_group }))
}

/// Shows a step, and does it unless all is only to be shown.
fn take(step: &SetupStep, is_dry: bool, output: &mut Output) -> Result<(), Failure> {
    output.line(&step.to_string())?;
    output.flush()?;
    if is_dry {
        return Ok(());
    }
    apply(step).map_err(|e| {
        Failure::failed(format!("{e}; what was done stays, and \"swrun setup\" goes on from there"))
    })
}

/// What operators had for PM2: each is one line of shell.
const UTILS: [(&str, &str); 3] = [
    ("swrun.errors.view", include_str!("../../../utils/swrun.errors.view")),
    ("swrun.logs.flush", include_str!("../../../utils/swrun.logs.flush")),
    ("swrun.restart", include_str!("../../../utils/swrun.restart")),
];

/// Writes those of [`UTILS`] that are missing; the folder must be root's, who runs what is in it.
fn write_utils(folder: &Path, is_dry: bool, output: &mut Output) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::failed(format!("could not write \"{}\": {error}", path.display()))
    };
    let folder = std::path::absolute(folder).map_err(|error| failed(folder, error))?;
    // Of what is there: nothing is made in a place of another's.
    let there = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
    if let Some((place, why)) = files::changed_by_others(there).map_err(|e| failed(there, e))? {
        return Err(Failure::failed(format!(
            "\"{}\" is no place for programs of root's: \"{}\" can be changed by {why}",
            folder.display(),
            place.display()
        )));
    }
    if !folder.exists() {
        let (path, owner) = (folder.clone(), "root".to_owned());
        take(&SetupStep::MakeFolder { path, owner, mode: 0o755 }, is_dry, output)?;
    }
    for (name, text) in UTILS {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        output.line(&format!("write \"{}\"", path.display()))?;
        if !is_dry {
            files::replace(&path, text.as_bytes(), 0o755).map_err(|e| failed(&path, e))?;
        }
    }
    output.flush()
}

/// The units of systemd that are missing, and has it take them up.
fn write_units(places: &Places, is_dry: bool, output: &mut Output) -> Result<(), Failure> {
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    let program =
        program.map_err(|e| Failure::failed(format!("the own program was not found: {e}")))?;
    let units = units::missing(places.root(), &program).map_err(Failure::failed)?;
    for unit in &units {
        output.line(&format!("write the unit \"{}\"", unit.path.display()))?;
        if !is_dry {
            units::write(unit).map_err(|e| {
                Failure::failed(format!("could not write \"{}\": {e}", unit.path.display()))
            })?;
        }
    }
    let profiles = places.profiles();
    let folders = profiles.ancestors().take(2).filter(|folder| !folder.exists());
    for folder in folders.collect::<Vec<_>>().into_iter().rev() {
        let (path, owner) = (folder.to_owned(), "root".to_owned());
        let step = SetupStep::MakeFolder { path, owner, mode: 0o755 };
        take(&step, is_dry, output)?;
    }
    let is_running = places.root().join("run/systemd/system").is_dir();
    if !units.is_empty() && is_running {
        output.line("systemctl daemon-reload")?;
        if !is_dry {
            command::run("systemctl", &["daemon-reload"])
                .map_err(|e| Failure::failed(e.to_string()))?;
        }
    }
    output.flush()
}
