//! `swrun start PATH --name N`: an environment without a profile file. It becomes a profile all the
//! same, in the state folder, so that there is one way from a text to a spec.

use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use super::registry::{Entry, Runner};
use crate::model::{EnvName, Wanted};
use crate::profile::{self, HostFacts};
use crate::sys::files;
use crate::wire::ask::AdHoc;

/// Writes the profile of a new environment and makes it known.
///
/// # Errors
/// The name is taken by a profile file, no user can be found, or the profile has errors.
pub fn add(runner: &Rc<Runner>, ad_hoc: &AdHoc) -> Result<Rc<Entry>, String> {
    let name = EnvName::parse(&ad_hoc.name).map_err(|error| error.to_string())?;
    let file = runner.places.ad_hoc_profiles().join(format!("{name}.toml"));
    if let Some(entry) = runner.entry(&name) {
        let has_file = entry.known.borrow().as_ref().is_some_and(|known| !known.is_ad_hoc);
        if has_file {
            return Err(format!(
                "\"{name}\" has a profile file; start it by its name alone: swrun start {name}"
            ));
        }
    }
    let text = profile_text(ad_hoc)?;
    let before = std::fs::read(&file).ok();
    files::replace(&file, text.as_bytes(), 0o600)
        .map_err(|e| format!("could not write \"{}\": {e}", file.display()))?;
    if let Err(text) = check(runner, &file) {
        let _ = match before {
            Some(before) => files::replace(&file, &before, 0o600),
            None => std::fs::remove_file(&file),
        };
        return Err(text);
    }
    Ok(runner.entry(&name).unwrap_or_else(|| runner.adopt(name, Wanted::Stopped)))
}

fn check(runner: &Rc<Runner>, file: &std::path::Path) -> Result<(), String> {
    let folders = [runner.places.profiles(), runner.places.ad_hoc_profiles()];
    let sources = profile::collect(&folders);
    let checked =
        profile::check_all(&sources.sources, &HostFacts::of_this_host(runner.places.clone()));
    let errors: Vec<String> = checked.errors_of(file).map(ToString::to_string).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
}

fn profile_text(ad_hoc: &AdHoc) -> Result<String, String> {
    let user = match &ad_hoc.user {
        Some(user) => user.clone(),
        None => owner(&ad_hoc.cwd)?,
    };
    let mut table = toml::Table::new();
    let mut set = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
    set("name", ad_hoc.name.clone().into());
    if let Some(target) = &ad_hoc.target {
        set("target", target.clone().into());
    }
    set("user", user.into());
    set("command", ad_hoc.command.clone().into());
    set("cwd", ad_hoc.cwd.to_string_lossy().into_owned().into());
    let ports: Vec<toml::Value> = ad_hoc
        .ports
        .iter()
        .map(|port| port.parse::<i64>().map_or_else(|_| port.clone().into(), Into::into))
        .collect();
    set("ports", ports.into());
    let env: toml::Table =
        ad_hoc.env.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    set("env", env.into());
    toml::to_string(&table).map_err(|error| format!("could not write the profile: {error}"))
}

/// The user is the owner of the folder; root is refused, as everywhere.
fn owner(cwd: &std::path::Path) -> Result<String, String> {
    let uid = std::fs::metadata(cwd)
        .map_err(|e| format!("could not look at \"{}\": {e}", cwd.display()))?
        .uid();
    if uid == 0 {
        return Err(format!(
            "\"{}\" belongs to root, and no app runs as root: name the user with --user",
            cwd.display()
        ));
    }
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    Ok(user.map_or_else(|| uid.to_string(), |user| user.name))
}
