//! `deploy` and `rollback`: another release in the place of the one that runs, tried before it is chosen.

use std::rc::Rc;
use std::time::Duration;

use super::{Verb, take_turn, trial};
use crate::daemon::entry::Entry;
use crate::daemon::one_shot::{self, Command};
use crate::daemon::registry::Runner;
use crate::daemon::releases;
use crate::model::{DeployRules, EnvSpec, LINK, Release, ReleaseName, format_duration};
use crate::policy::releases::Releases;
use crate::wire::ask::Outcome;

/// Which release is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// This one.
    Named(ReleaseName),
    /// The one before the one in use.
    Before,
}

/// Keeps others from deploying the same environment meanwhile.
struct Deploying(Rc<Entry>);

impl Deploying {
    fn begin(entry: &Rc<Entry>) -> Option<Self> {
        (!entry.is_deploying.replace(true)).then(|| Self(Rc::clone(entry)))
    }
}

impl Drop for Deploying {
    fn drop(&mut self) {
        self.0.is_deploying.set(false);
    }
}

/// Builds a release, lets it take the place of the one that runs, watches it, and goes back where it does not hold;
/// `is_dry` only says so.
pub async fn deploy(
    runner: Rc<Runner>,
    entry: Rc<Entry>,
    chosen: Chosen,
    is_dry: bool,
    tell: impl AsyncFnMut(String),
) -> Outcome {
    let result = Box::pin(carry_out(&runner, &entry, &chosen, is_dry, tell)).await;
    let (ok, text) = match result {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    tracing::info!("{}: {chosen:?}: {text}", entry.name);
    Outcome { name: entry.name.to_string(), ok, text }
}

async fn carry_out(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    chosen: &Chosen,
    is_dry: bool,
    mut tell: impl AsyncFnMut(String),
) -> Result<String, String> {
    let Some(_deploying) = Deploying::begin(entry) else {
        return Err("is being deployed already; wait for that".to_owned());
    };
    let known = runner.resolve(&entry.name).map_err(|e| format!("cannot be started:\n{e}"))?;
    let mut spec = known.spec.ok_or("cannot be deployed: its profile has errors")?;
    let Some(rules) = spec.deploy.clone() else {
        return Err(format!(
            "has no [deploy] in its profile, so what is in \"{}\" runs: copy a release there and say \"swrun reload {}\", or add the section (swrun-profile(5))",
            spec.cwd.display(),
            entry.name
        ));
    };
    let known = runner.releases(&entry.name);
    let name = match chosen {
        Chosen::Named(name) => name.clone(),
        Chosen::Before => known.before().cloned().ok_or_else(|| no_way_back(&known))?,
    };
    spec.release = Some(Release { name: name.clone(), why: None });
    releases::find(&spec).await.map_err(|why| format!("was not deployed: {why}"))?;
    // What runs is not built under its feet.
    let is_in_use = known.current() == Some(&name);
    let builds = *chosen != Chosen::Before && !rules.build.is_empty() && !is_in_use;
    if is_dry {
        return Ok(plan(entry, &spec, &rules, &known, builds));
    }
    if builds {
        tell(format!("{}: {}", name, rules.build.join(" "))).await;
        build(runner, entry, &spec, &rules, &mut tell)
            .await
            .map_err(|why| format!("was not deployed, and goes on as it was: {why}"))?;
    }
    let outcome = {
        let Some(_order) = take_turn(entry, Verb::Reload).await else {
            return Err("has too many orders waiting; try again".to_owned());
        };
        if !runner.knows(entry) || runner.is_killing() {
            return Err("was deleted or stopped meanwhile".to_owned());
        }
        tell(format!("{name} takes over, and is watched for {}", format_duration(rules.watch)))
            .await;
        trial::run(runner, entry, &spec, &name, &rules).await?
    };
    let note = tidy(runner, entry, &spec, &rules).await;
    let before = known.current().filter(|before| **before != name);
    let before = before.map_or_else(String::new, |before| format!(", in the place of {before}"));
    Ok(format!("runs release {name}{before}; {outcome}{note}"))
}

fn no_way_back(known: &Releases) -> String {
    match known.current() {
        Some(current) => format!("was not changed: there is no release before {current}"),
        None => "has no release yet".to_owned(),
    }
}

/// What would be done.
fn plan(
    entry: &Entry,
    spec: &EnvSpec,
    rules: &DeployRules,
    known: &Releases,
    builds: bool,
) -> String {
    let mut steps = Vec::new();
    let folder = spec.release_folder().map(|folder| spec.base.join(folder));
    let folder = folder.unwrap_or_default();
    if builds {
        let within = format_duration(rules.build_within);
        steps.push(format!("run \"{}\" in its cage, for {within} at most", rules.build.join(" ")));
    }
    let has_run = entry.connection().is_some();
    steps.push(format!(
        "show \"{}\" at \"{}\" and {}",
        folder.display(),
        spec.cwd.display(),
        if has_run { "replace every instance by one of it that is up" } else { "start it" }
    ));
    let health =
        spec.health.as_ref().map_or_else(String::new, |health| format!(", asking {}", health.http));
    steps.push(format!("watch it for {}{health}", format_duration(rules.watch)));
    steps.push(match known.current() {
        Some(current) => format!("go back to {current} by itself where it does not hold"),
        None if has_run => "go back to what runs now where it does not hold".to_owned(),
        None => "stop it where it does not hold: there is no release before it".to_owned(),
    });
    let lines: String = steps.iter().map(|step| format!("\n  {step}")).collect();
    format!("would be deployed so (nothing is done now):{lines}")
}

/// The command of the profile in the cage of the new release, which it may write.
async fn build(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    spec: &EnvSpec,
    rules: &DeployRules,
    tell: &mut impl AsyncFnMut(String),
) -> Result<(), String> {
    let mut spec = spec.clone();
    spec.writable.push(spec.cwd.clone());
    crate::daemon::peers::look_up(&mut spec.network).await?;
    let command = Command { words: rules.build.clone(), within: rules.build_within };
    one_shot::run(runner, entry, spec, command, tell).await
}

/// How long the link may take, and the removal of what is old.
const TIDY_WITHIN: Duration = Duration::from_secs(60);

/// So many lines are told of what did not work.
const MOST_NOTES: usize = 3;

/// Writes the link for people and removes what is old, both as the environment's user: what is there is that user's.
/// Neither is needed for anything, so what fails is only told.
async fn tidy(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    spec: &EnvSpec,
    rules: &DeployRules,
) -> String {
    const SCRIPT: &str = r#"ln -sfnT -- "$1" "$2"; shift 2; [ $# -eq 0 ] || rm -rf -- "$@""#;
    let mut notes = String::new();
    let old = runner.releases(&entry.name).old(rules.keep as usize);
    let folder = spec.base.join(&rules.releases);
    let path = |name: &ReleaseName| folder.join(name.as_str()).display().to_string();
    let mut words: Vec<String> = ["/bin/sh", "-c", SCRIPT, "swrun"].map(str::to_owned).into();
    words.push(spec.release_folder().unwrap_or_default().display().to_string());
    words.push(spec.base.join(LINK).display().to_string());
    words.extend(old.iter().map(path));
    let mut cage = spec.clone();
    cage.writable.push(spec.base.clone());
    let command = Command { words, within: TIDY_WITHIN };
    let mut said = Vec::new();
    let done = one_shot::run(runner, entry, cage, command, async |line| {
        if said.len() < MOST_NOTES {
            said.push(line);
        }
    })
    .await;
    if let Err(why) = done {
        said = vec![why.lines().next().unwrap_or_default().to_owned()];
    }
    let mut gone = Vec::new();
    for name in old {
        if releases::is_gone(spec.base.clone(), rules.releases.join(name.as_str())).await {
            gone.push(name);
        }
    }
    if !gone.is_empty() {
        let names: Vec<_> = gone.iter().map(ReleaseName::as_str).collect();
        notes = format!("; removed as old: {}", names.join(" "));
        if let Err(error) = runner.change_releases(entry, |releases| releases.forget(&gone)) {
            said.push(error);
        }
    }
    for line in said.iter().take(MOST_NOTES) {
        notes = format!("{notes}\n  note: {line}");
    }
    notes
}
