//! Which environments' logs are meant. Logs are read without a runner, so the folders of the logs are
//! the list of names; only what a target means is asked of the runner, and guessed when it is away.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use crate::cli::client;
use crate::cli::exit::Failure;
use crate::model::{EnvName, EnvironmentStatus, Places};
use crate::wire::ask::{Answer, Ask};

/// How long the runner may take to tell what a target means, before it is guessed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The environments that have logs.
///
/// # Errors
/// The folder of all logs cannot be read.
pub fn with_logs(places: &Places) -> Result<BTreeSet<EnvName>, Failure> {
    let folder = places.all_logs();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        // A deploy user has its own environment's alone, and the runner knows which that is.
        Err(error)
            if error.kind() == ErrorKind::PermissionDenied
                && let Some(own) = by_runner(places).filter(|own| !own.is_empty()) =>
        {
            let names = own.iter().filter_map(|one| EnvName::parse(&one.name).ok());
            return Ok(names.filter(|name| places.logs(name).exists()).collect());
        }
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => ": use sudo, or join the group swrun",
                _ => "",
            };
            let shown = folder.display();
            return Err(Failure::failed(format!(
                "cannot list the logs in \"{shown}\": {error}{hint}"
            )));
        }
    };
    let names = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        EnvName::parse(entry.file_name().to_str()?).ok().filter(|_| is_folder)
    });
    Ok(names.collect())
}

/// The environments with logs that `named` means; all for none named.
///
/// # Errors
/// The logs cannot be listed, or a name means none of them.
pub fn selected(places: &Places, named: &[String]) -> Result<Vec<EnvName>, Failure> {
    let names = with_logs(places).or_else(|failure| {
        // Who may not list them may have one of them all the same, whose name it knows.
        let named = named.iter().filter_map(|name| EnvName::parse(name).ok());
        let own: BTreeSet<EnvName> = named.filter(|name| places.logs(name).exists()).collect();
        if own.is_empty() { Err(failure) } else { Ok(own) }
    })?;
    if named.is_empty() {
        return Ok(names.into_iter().collect());
    }
    let is_target = named.iter().any(|one| !names.iter().any(|name| name.as_str() == one));
    let targets = if is_target { targets_by_runner(places) } else { None };
    choose(&names, named, targets.as_deref()).map_err(|missing| {
        let known: Vec<&str> = names.iter().map(EnvName::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Failure::failed(format!(
            "no environment has the name or target \"{missing}\" and logs in \"{}\"; there are: {known}",
            places.all_logs().display()
        ))
    })
}

/// Names and targets as the runner knows them; `None` when it cannot be asked.
fn targets_by_runner(places: &Places) -> Option<Vec<(String, String)>> {
    let known = by_runner(places)?.into_iter();
    Some(known.filter_map(|one| Some((one.name, one.target?))).collect())
}

/// The environments that the caller may see; `None` when the runner cannot be asked.
fn by_runner(places: &Places) -> Option<Vec<EnvironmentStatus>> {
    let ask = Ask::Status { targets: Vec::new() };
    match client::ask(places, &ask, PATIENCE, |_, _| ()) {
        Ok(Answer::Status(document)) => Some(document.environments),
        _ => None,
    }
}

/// A folder of the name itself; else those of the target; else, where nobody knows its target, a
/// folder that ends in `-TARGET`, as names mostly do. The error is the name that means nothing.
fn choose(
    names: &BTreeSet<EnvName>,
    named: &[String],
    targets: Option<&[(String, String)]>,
) -> Result<Vec<EnvName>, String> {
    let mut chosen = BTreeSet::new();
    for one in named {
        let is_meant = |name: &&EnvName| {
            let name = name.as_str();
            let mut known = targets.unwrap_or_default().iter().filter(|(known, _)| known == name);
            match known.next() {
                Some((_, target)) => target == one,
                None => name.strip_suffix(one.as_str()).is_some_and(|rest| rest.ends_with('-')),
            }
        };
        let exact = names.iter().find(|name| name.as_str() == one);
        let meant: Vec<&EnvName> = match exact {
            Some(exact) => vec![exact],
            None => names.iter().filter(is_meant).collect(),
        };
        if meant.is_empty() {
            return Err(one.clone());
        }
        chosen.extend(meant.into_iter().cloned());
    }
    Ok(chosen.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(named: &[&str], targets: Option<&[(&str, &str)]>) -> Result<Vec<String>, String> {
        let names = ["api-prod", "backend-prod", "backend-test", "prodigy", "worker"];
        let names = names.iter().map(|name| EnvName::parse(name).expect("a name")).collect();
        let named: Vec<String> = named.iter().map(|&name| name.into()).collect();
        let targets: Option<Vec<(String, String)>> =
            targets.map(|known| known.iter().map(|(n, t)| ((*n).into(), (*t).into())).collect());
        let chosen = choose(&names, &named, targets.as_deref())?;
        Ok(chosen.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_and_targets_are_found() {
        assert_eq!(chosen(&["worker", "worker"], None), Ok(vec!["worker".into()]));
        assert_eq!(chosen(&["prod"], None), Ok(vec!["api-prod".into(), "backend-prod".into()]));
        // What the runner knows wins over the guess.
        let known = [("api-prod", "live"), ("worker", "prod")];
        assert_eq!(
            chosen(&["prod"], Some(&known)),
            Ok(vec!["backend-prod".into(), "worker".into()])
        );
        assert_eq!(chosen(&["live"], Some(&known)), Ok(vec!["api-prod".into()]));
        for missing in ["../prod", "nothing", "PROD", "-prod"] {
            assert_eq!(chosen(&["worker", missing], None), Err(missing.into()));
        }
    }

    #[test]
    fn only_folders_of_names_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places::below(folder.path());
        assert_eq!(selected(&places, &[]), Ok(Vec::new()));
        std::fs::create_dir_all(places.all_logs().join("backend-prod")).expect("made");
        std::fs::create_dir_all(places.all_logs().join("Not_A_Name")).expect("made");
        std::fs::write(places.all_logs().join("a-file-prod"), "").expect("written");
        let name = EnvName::parse("backend-prod").expect("a name");
        assert_eq!(selected(&places, &["prod".into()]), Ok(vec![name]));
        let Err(Failure::Because(_, text)) = selected(&places, &["dev".into()]) else {
            panic!("found")
        };
        assert!(text.contains("\"dev\"") && text.ends_with("there are: backend-prod"), "{text}");
    }
}
