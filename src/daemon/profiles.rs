//! The profiles of the runner: those of `/etc` and those of environments without a file of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::{EnvName, EnvSpec, Places};
use crate::profile::{self, Checked, HostFacts, Problem, Source, UserChoice};

/// A profile that can be started.
#[derive(Debug, Clone)]
pub struct Known {
    /// The environment's name.
    pub name: EnvName,
    /// Its file.
    pub file: PathBuf,
    /// Whether it is an environment without a profile file in `/etc`.
    pub is_ad_hoc: bool,
    /// Start at boot, if it was never seen.
    pub autostart: bool,
    /// The resolved spec; none when an error keeps it from being started.
    pub spec: Option<EnvSpec>,
    /// The target.
    pub target: Option<String>,
    /// The digest of the file's text.
    pub digest: String,
    /// The number it was given, with `user = "auto"`.
    pub auto_uid: Option<u32>,
}

/// All profiles.
#[derive(Debug)]
pub struct Profiles {
    /// Those that name an environment.
    pub known: Vec<Known>,
    /// Every problem of every file.
    pub problems: Vec<Problem>,
}

/// Reads and resolves all profiles.
#[must_use]
pub fn read_all(places: &Places, auto_uids: &BTreeMap<EnvName, u32>) -> Profiles {
    let sources = profile::collect(&[places.profiles(), places.ad_hoc_profiles()]);
    let Checked { profiles, problems } =
        profile::check_all(&sources.sources, &host_facts(places, auto_uids));
    let ad_hoc = places.ad_hoc_profiles();
    let known = profiles
        .into_iter()
        .map(|checked| Known {
            name: checked.profile.name.value.clone(),
            is_ad_hoc: checked.profile.file.starts_with(&ad_hoc),
            autostart: checked.profile.autostart,
            target: checked.profile.target.as_ref().map(|target| target.value.to_string()),
            digest: checked.profile.digest.clone(),
            auto_uid: (checked.profile.user.value == UserChoice::Auto)
                .then_some(checked.spec.as_ref())
                .flatten()
                .map(|spec| spec.identity.uid),
            spec: checked.spec,
            file: checked.profile.file,
        })
        .collect();
    let problems = sources.problems.into_iter().chain(problems).collect();
    Profiles { known, problems }
}

fn host_facts(places: &Places, auto_uids: &BTreeMap<EnvName, u32>) -> HostFacts {
    HostFacts { auto_uids: auto_uids.clone(), ..HostFacts::of_this_host(places.clone()) }
}

/// The errors that a profile would have if `file` held `text`, beside all others.
#[must_use]
pub fn errors_of_new(
    places: &Places,
    auto_uids: &BTreeMap<EnvName, u32>,
    file: &Path,
    text: &str,
) -> Vec<String> {
    let mut sources = profile::collect(&[places.profiles(), places.ad_hoc_profiles()]).sources;
    sources.retain(|source| source.file != file);
    // Last: what it has in common with another is its own error.
    sources.push(Source { file: file.to_owned(), text: text.to_owned() });
    let checked = profile::check_all(&sources, &host_facts(places, auto_uids));
    checked.errors_of(file).map(ToString::to_string).collect()
}

/// The spec of one environment as its profile is now.
///
/// # Errors
/// Every error of its file, a line each; or that no profile names it.
pub fn resolve(
    places: &Places,
    auto_uids: &BTreeMap<EnvName, u32>,
    name: &EnvName,
) -> Result<Known, String> {
    read_all(places, auto_uids).resolve(places, name)
}

impl Profiles {
    /// The same of profiles that were read.
    ///
    /// # Errors
    /// As [`resolve`].
    pub fn resolve(&self, places: &Places, name: &EnvName) -> Result<Known, String> {
        let errors = || self.problems.iter().filter(|problem| problem.is_error());
        let errors_of = |file: &Path| -> Vec<String> {
            errors().filter(|problem| problem.file == file).map(ToString::to_string).collect()
        };
        match self.known.iter().find(|known| known.name == *name) {
            Some(known) if known.spec.is_some() && errors_of(&known.file).is_empty() => {
                Ok(known.clone())
            }
            Some(known) => Err(errors_of(&known.file).join("\n")),
            None => {
                // A file with an error may be the one that was meant.
                let errors: Vec<String> = errors().map(ToString::to_string).collect();
                let text =
                    format!("no profile in \"{}\" names \"{name}\"", places.profiles().display());
                Err([vec![text], errors].concat().join("\n"))
            }
        }
    }
}

/// Whether a profile file names the environment, with errors or without.
#[must_use]
pub fn is_claimed(places: &Places, name: &EnvName) -> bool {
    let sources = profile::collect(&[places.profiles(), places.ad_hoc_profiles()]).sources;
    sources.iter().any(|source| {
        let claims = profile::read(&source.file, &source.text).claims;
        claims.name.is_some_and(|claimed| claimed.value == *name)
    })
}
