//! `swrun export FORMAT ENV`: an environment for another engine, shown first, written with `--to`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::args;
use super::exit::{Ended, Exit, Failure};
use super::output::{Output, say};
use crate::export::{Driver, Export, File, Format, Source, export};
use crate::formats::clean::clean;
use crate::model::{DEFAULT_PATH, EnvSpec, Places, Port, Protocol};
use crate::profile::{self, HostFacts};

/// What stands for a value where the files are only shown.
const HIDDEN: &str = "(hidden)";

/// Shows what would be written, or writes it.
pub fn run(places: &Places, asked: &args::Export, output: &mut Output) -> Ended {
    let mut spec = find(places, &asked.environment)?;
    let mut variables = variables(&mut spec)?;
    let program = program(&spec, &variables);
    if asked.to.is_none() {
        variables.iter_mut().for_each(|(_, value)| HIDDEN.clone_into(value));
    }
    let format = match asked.format {
        args::ExportFormat::Systemd => Format::Systemd,
        args::ExportFormat::Quadlet => Format::Quadlet,
        args::ExportFormat::Nomad => Format::Nomad(match asked.driver {
            Some(args::NomadDriver::RawExec) => Driver::RawExec,
            Some(args::NomadDriver::Exec2) | None => Driver::Exec2,
        }),
        args::ExportFormat::Kubernetes => Format::Kubernetes,
    };
    if asked.driver.is_some() && !matches!(format, Format::Nomad(_)) {
        return Err(Failure::usage("--driver is for nomad alone"));
    }
    let image = asked.image.as_deref();
    if matches!(format, Format::Systemd | Format::Quadlet) {
        is_free(spec.name.as_str())?;
    }
    let program = program.as_deref();
    let source = Source { spec: &spec, variables: &variables, program, image };
    let Export { files, left } = export(format, &source).map_err(Failure::usage)?;
    match &asked.to {
        None => show(&files, output)?,
        Some(folder) => write(&files, folder)?,
    }
    output.flush()?;
    for text in left {
        say(&format!("not carried over: {text}"));
    }
    if asked.to.is_none() {
        say("nothing was written, and values are hidden: \"--to DIR\" writes the files");
    }
    Ok(Exit::Done)
}

/// The environment as its profile is now.
fn find(places: &Places, wanted: &str) -> Result<EnvSpec, Failure> {
    let sources = profile::collect(&[places.profiles(), places.ad_hoc_profiles()]).sources;
    let checked = profile::check_all(&sources, &HostFacts::of_this_host(places.clone()));
    let mut names = Vec::new();
    for one in checked.profiles {
        let name = one.profile.name.value.as_str();
        let target = one.profile.target.as_ref().map(|target| target.value.as_str());
        if name != wanted && target != Some(wanted) {
            names.push(name.to_owned());
            continue;
        }
        return one.spec.ok_or_else(|| {
            Failure::failed(format!(
                "the profile \"{}\" of \"{name}\" has errors: see \"swrun check\"",
                one.profile.file.display()
            ))
        });
    }
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(Failure::failed(format!(
        "there is no profile of \"{}\"; there are: {there}",
        wanted.escape_default()
    )))
}

/// Those of `.env`, read as the environment's user, and over them those of the profile.
fn variables(spec: &mut EnvSpec) -> Result<Vec<(String, String)>, Failure> {
    let file = spec.env_file.as_ref().map(|file| spec.base.join(&file.path)).unwrap_or_default();
    let failed = |why: String| {
        Failure::failed(format!("could not read \"{}\": {}", file.display(), clean(&why)))
    };
    let findings = profile::read_env_values(spec).map_err(|error| failed(error.to_string()))?;
    if let Some((_, why)) = findings.error {
        return Err(failed(why));
    }
    if spec.env_file.as_ref().is_some_and(|file| file.required) && !findings.exists {
        return Err(failed("it is not there".to_owned()));
    }
    // What an environment without a profile file does: its port is that of its .env.
    if spec.ports.is_empty()
        && let Some(port) = findings.port.filter(|_| !spec.env.contains_key("PORT"))
    {
        spec.ports.push(Port { port, proto: Protocol::Tcp });
    }
    let mut all: BTreeMap<String, String> = findings.values.into_iter().collect();
    all.extend(spec.env.clone());
    Ok(all.into_iter().collect())
}

/// The program's whole path as a start finds it (execvp(3)): by the app's own PATH, with a name alone.
fn program(spec: &EnvSpec, variables: &[(String, String)]) -> Option<PathBuf> {
    let name = spec.command.first().filter(|name| !name.contains('/'))?;
    let path = variables.iter().find(|(key, _)| key == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, path)| path);
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
    };
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    folders.map(|folder| Path::new(folder).join(name)).find(is_program)
}

/// A unit in `/etc` would take the place of the host's own of that name.
fn is_free(name: &str) -> Result<(), Failure> {
    for folder in ["/usr/lib/systemd/system", "/lib/systemd/system"] {
        let unit = Path::new(folder).join(format!("{name}.service"));
        if unit.exists() {
            return Err(Failure::failed(format!(
                "the host has a unit \"{}\" already: give the environment another name",
                unit.display()
            )));
        }
    }
    Ok(())
}

fn show(files: &[File], output: &mut Output) -> Result<(), Failure> {
    for File { name, text, .. } in files {
        output.line(&format!("# ---- {name}"))?;
        for line in text.lines() {
            output.line(&clean(line))?;
        }
    }
    Ok(())
}

/// Each a new file; what is there is not touched.
fn write(files: &[File], folder: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::failed(format!("could not write \"{}\": {error}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let paths = files.iter().map(|file| folder.join(&file.name));
    if let Some(there) = paths.clone().find(|path| path.symlink_metadata().is_ok()) {
        let text = format!("nothing was written: \"{}\" is there already", there.display());
        return Err(Failure::failed(text));
    }
    for (number, (file, path)) in files.iter().zip(paths.clone()).enumerate() {
        let mode = if file.is_secret { 0o600 } else { 0o644 };
        let mut new = std::fs::File::options();
        let new = new.write(true).create_new(true).mode(mode).open(&path);
        if let Err(error) = new.and_then(|mut new| new.write_all(file.text.as_bytes())) {
            // All or none.
            for written in paths.take(number + 1) {
                let _ = std::fs::remove_file(written);
            }
            return Err(failed(&path, error));
        }
    }
    for path in paths {
        say(&format!("written: {}", path.display()));
    }
    Ok(())
}
