//! `swrun start PATH --name N`: an environment without a profile file. It becomes a profile all the
//! same, in the state folder, so that there is one way from a text to a spec.

use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use super::entry::Entry;
use super::profiles::Known;
use super::registry::Runner;
use crate::model::{EnvName, Port, Protocol, Wanted};
use crate::profile;
use crate::sys::files;
use crate::wire::ask::AdHoc;

/// Writes the profile of a new environment and makes it known.
///
/// # Errors
/// The name is taken by a profile file, no user can be found, or the profile has errors.
pub fn add(runner: &Rc<Runner>, ad_hoc: &AdHoc) -> Result<Rc<Entry>, String> {
    let name = EnvName::parse(&ad_hoc.name).map_err(|error| error.to_string())?;
    if let Some(entry) = runner.entry(&name) {
        let has_file = entry.known.borrow().as_ref().is_some_and(|known| !known.is_ad_hoc);
        if has_file {
            return Err(format!(
                "\"{name}\" has a profile file; start it by its name alone: swrun start {name}"
            ));
        }
    }
    add_text(runner, &name, &profile_text(ad_hoc)?)
}

/// The same with the text of its profile.
///
/// # Errors
/// The profile has errors, or another name.
pub fn add_text(runner: &Rc<Runner>, name: &EnvName, text: &str) -> Result<Rc<Entry>, String> {
    let file = runner.places.ad_hoc_profiles().join(format!("{name}.toml"));
    let errors = runner.errors_of_new(&file, text);
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    let claimed = profile::read(&file, text).claims.name;
    if claimed.is_none_or(|claimed| claimed.value != *name) {
        return Err(format!("its profile is not that of \"{name}\""));
    }
    files::replace(&file, text.as_bytes(), 0o600)
        .map_err(|e| format!("could not write \"{}\": {e}", file.display()))?;
    Ok(runner.entry(name).unwrap_or_else(|| runner.adopt(name.clone(), Wanted::Stopped)))
}

/// Without a port in its profile, `PORT` of its `.env` is an ad-hoc environment's port: looked up at
/// each start, as the app does.
///
/// # Errors
/// The port is another environment's.
pub async fn add_port_of_env_file(runner: &Runner, known: &mut Known) -> Result<(), String> {
    let Some(spec) = known.spec.as_mut().filter(|spec| spec.ports.is_empty()) else {
        return Ok(());
    };
    // `[env]` wins over the file, in this too.
    if !known.is_ad_hoc || spec.env.contains_key("PORT") {
        return Ok(());
    }
    let asked = spec.clone();
    let found = tokio::task::spawn_blocking(move || profile::read_env_file(&asked)).await;
    let port = match found {
        Ok(Ok(findings)) => findings.port,
        // The start reads the same file and says what is wrong with it.
        Ok(Err(_)) | Err(_) => None,
    };
    let Some(port) = port.map(|port| Port { port, proto: Protocol::Tcp }) else { return Ok(()) };
    if let Some(owner) = runner.owner_of(port, &known.name) {
        return Err(format!(
            "cannot be started: port {} of its .env file is that of \"{owner}\"",
            port.port
        ));
    }
    spec.ports.push(port);
    Ok(())
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
    let named = ad_hoc.env.iter().find(|(key, _)| key == "PORT").map(|(_, port)| port);
    let ports: &[String] = match named {
        // The app is told this one; what is no port number is the app's own affair.
        Some(port) if ad_hoc.ports.is_empty() && is_port(port) => std::slice::from_ref(port),
        _ => &ad_hoc.ports,
    };
    let ports: Vec<toml::Value> = ports
        .iter()
        .map(|port| port.parse::<i64>().map_or_else(|_| port.clone().into(), Into::into))
        .collect();
    set("ports", ports.into());
    let env: toml::Table =
        ad_hoc.env.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    set("env", env.into());
    toml::to_string(&table).map_err(|error| format!("could not write the profile: {error}"))
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
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
