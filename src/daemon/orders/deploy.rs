//! `deploy` and `rollback`: another release in the place of the one that runs, tried before it is chosen.

use std::rc::Rc;
use std::time::Duration;

use super::{Verb, reload, restart, stop, take_turn, trial, until_stopped};
use crate::daemon::one_shot::{self, Command};
use crate::daemon::registry::{Entry, Runner};
use crate::daemon::releases;
use crate::formats::spec_file;
use crate::model::{DeployRules, EnvSpec, LINK, Phase, Release, ReleaseName, format_duration};
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
    let builds = *chosen != Chosen::Before && !rules.build.is_empty();
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
        tell(format!("{name} takes over, and is watched for {}", format_duration(rules.watch)))
            .await;
        try_it(runner, entry, &spec, &name, &rules).await?
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

/// Lets a release take over and watches it; where it does not hold, what was before is put back.
async fn try_it(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    spec: &EnvSpec,
    name: &ReleaseName,
    rules: &DeployRules,
) -> Result<String, String> {
    until_stopped(entry).await;
    let has_run = entry.connection().is_some();
    runner.change_releases(entry, |releases| releases.begin(name))?;
    let mut outcome = reload::reload(runner, entry, true).await;
    if outcome.is_ok()
        && let Err(why) = trial::watch(entry, spec, rules.watch).await
    {
        outcome = Err(why);
    }
    match outcome {
        Ok(text) => {
            runner.change_releases(entry, Releases::confirm)?;
            Ok(text)
        }
        Err(why) => Err(go_back(runner, entry, name, has_run, &why).await),
    }
}

/// What is told of a release that did not hold, and of what runs in its place.
async fn go_back(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    name: &ReleaseName,
    has_run: bool,
    why: &str,
) -> String {
    let failed = format!("release {name} did not hold: {why}");
    let known = match runner.change_releases(entry, Releases::take_back) {
        Ok(known) => known,
        Err(error) => return format!("{failed}\nand it is still on trial: {error}"),
    };
    let Some(current) = known.current() else {
        let stopped = stop(runner, entry, true).await;
        return match stopped {
            Ok(_) => format!("{failed}\nThere is no release before it: it is stopped"),
            Err(error) => format!("{failed}\nThere is no release before it, and {error}"),
        };
    };
    if entry.ending.get() > 0 {
        // Whoever stops it waits for this.
        return format!("{failed}\nRelease {current} is the one to start");
    }
    if !has_run {
        let _ = stop(runner, entry, true).await;
        return format!(
            "{failed}\nIt is stopped, as before; release {current} is the one to start"
        );
    }
    let runs = spec_file::read(&runner.places.spec(&entry.name)).ok();
    let is_old = runs.and_then(|spec| spec.release).is_some_and(|runs| runs.name == *current);
    if is_old && entry.seen().brief.is_some_and(|brief| brief.phase == Phase::Online) {
        return format!("{failed}\nRelease {current} goes on; no request was lost");
    }
    match put_back(runner, entry, format!("{failed}, so it is taken back")).await {
        Ok(text) => format!("{failed}\nRelease {current} is back: it {text}"),
        Err(error) => format!("{failed}\nRelease {current} is to be back, but it {error}"),
    }
}

/// Lets the release that is chosen take over again.
async fn put_back(runner: &Rc<Runner>, entry: &Rc<Entry>, why: String) -> Result<String, String> {
    // One line of a journal.
    let why = why.lines().next().unwrap_or_default().to_owned();
    *entry.why_released.borrow_mut() = Some(why.clone());
    let reloaded = reload::reload(runner, entry, true).await;
    if reloaded.is_ok() {
        return reloaded;
    }
    *entry.why_released.borrow_mut() = Some(why);
    restart(runner, entry, true).await
}

/// How long the link may take, and the removal of what is old.
const TIDY_WITHIN: Duration = Duration::from_secs(60);

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
    let done = one_shot::run(runner, entry, cage, command, async |line| said.push(line)).await;
    if let Err(why) = done {
        said = vec![why.lines().next().unwrap_or_default().to_owned()];
    }
    let mut gone = Vec::new();
    for name in old {
        let old =
            EnvSpec { release: Some(Release { name: name.clone(), why: None }), ..spec.clone() };
        if releases::find(&old).await.is_err() {
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
    for line in said.iter().take(3) {
        notes = format!("{notes}\n  note: {line}");
    }
    notes
}

/// A runner that was killed in the middle of a deployment left a release on trial: the one before is put back.
pub async fn end_trial(runner: Rc<Runner>, entry: Rc<Entry>) {
    let Some(name) = runner.releases(&entry.name).trial else { return };
    let Some(_order) = take_turn(&entry, Verb::Reload).await else { return };
    let failed = format!("release {name} was on trial when the runner ended");
    match runner.change_releases(&entry, Releases::take_back) {
        Ok(known) if known.current().is_none() => {
            tracing::warn!("{}: {failed}, and is the first: it is stopped", entry.name);
            let _ = stop(&runner, &entry, true).await;
        }
        Ok(_) => {
            trial::until_connected(&entry).await;
            let outcome = put_back(&runner, &entry, format!("{failed}, so it is taken back")).await;
            tracing::warn!("{}: {failed}; what was before {outcome:?}", entry.name);
        }
        Err(error) => tracing::error!("{}: {failed}: {error}", entry.name),
    }
}
