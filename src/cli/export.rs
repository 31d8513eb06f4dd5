//! `swrun export FORMAT ENV`: an environment for another engine, shown first, written with `--to`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::args;
use super::exit::{Ended, Exit, Failure};
use super::output::{Output, say};
use crate::export::{Export, File, Format, Source, export};
use crate::formats::clean::clean;
use crate::model::{EnvSpec, Places, Port, Protocol};
use crate::profile::{self, HostFacts};

/// What stands for a value where the files are only shown.
const HIDDEN: &str = "(hidden)";

/// Shows what would be written, or writes it.
pub fn run(places: &Places, asked: &args::Export, output: &mut Output) -> Ended {
    let mut spec = find(places, &asked.environment)?;
    let variables = variables(&mut spec, asked.to.is_some())?;
    let format = match asked.format {
        args::ExportFormat::Systemd => Format::Systemd,
        args::ExportFormat::Quadlet => Format::Quadlet,
        args::ExportFormat::Nomad => Format::Nomad,
        args::ExportFormat::Kubernetes => Format::Kubernetes,
    };
    let image = asked.image.as_deref();
    let source = Source { spec: &spec, variables: &variables, image };
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
fn variables(spec: &mut EnvSpec, with_values: bool) -> Result<Vec<(String, String)>, Failure> {
    let findings = match with_values {
        true => profile::read_env_values(spec),
        false => profile::read_env_file(spec),
    };
    let file = spec.env_file.as_ref().map(|file| spec.base.join(&file.path)).unwrap_or_default();
    let failed = |why: String| {
        Failure::failed(format!("could not read \"{}\": {}", file.display(), clean(&why)))
    };
    let findings = findings.map_err(|error| failed(error.to_string()))?;
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
    let mut all: std::collections::BTreeMap<String, String> = match with_values {
        true => findings.values.into_iter().collect(),
        false => findings.keys.into_iter().map(|key| (key, HIDDEN.to_owned())).collect(),
    };
    let hidden = |value: &String| if with_values { value.clone() } else { HIDDEN.to_owned() };
    all.extend(spec.env.iter().map(|(key, value)| (key.clone(), hidden(value))));
    Ok(all.into_iter().collect())
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
    for (file, path) in files.iter().zip(paths) {
        let mode = if file.is_secret { 0o600 } else { 0o644 };
        let mut new = std::fs::File::options();
        let new = new.write(true).create_new(true).mode(mode).open(&path);
        new.and_then(|mut new| new.write_all(file.text.as_bytes()))
            .map_err(|error| failed(&path, error))?;
        say(&format!("written: {}", path.display()));
    }
    Ok(())
}
