//! A release on trial: it takes over, is watched, and is chosen once it has held; else what ran before is put back, by
//! the spec that it ran with, whatever became of its profile meanwhile.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::{How, reload, restart, restart_as_written, start, stop, until_stopped, watch};
use crate::daemon::entry::Entry;
use crate::daemon::registry::Runner;
use crate::formats::spec_file;
use crate::model::{DeployRules, EnvName, EnvSpec, Phase, ReleaseName, Wanted};
use crate::policy::releases::{Releases, Trial};
use crate::sys::files;

/// How a release takes over.
enum Way {
    /// Everything serves, and goes on until the new one does.
    Reload,
    /// Nothing serves.
    Restart,
    /// Nothing runs.
    Start,
}

fn way(entry: &Entry) -> Result<Way, String> {
    let brief = Some(entry.seen()).filter(|view| view.is_connected).and_then(|view| view.brief);
    match brief {
        None => Ok(Way::Start),
        Some(brief) if brief.phase == Phase::Online => Ok(Way::Reload),
        Some(brief) if brief.online > 0 => Err(format!(
            "was not deployed: it is {}, and {} of its instances serve; wait until all of them do",
            brief.phase.word(),
            brief.online
        )),
        Some(_) => Ok(Way::Restart),
    }
}

/// Lets a release take over and watches it; where it does not hold, what was before is put back.
///
/// # Errors
/// It did not hold; the text says what runs now.
pub async fn run(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    spec: &EnvSpec,
    name: &ReleaseName,
    rules: &DeployRules,
) -> Result<String, String> {
    until_stopped(entry).await;
    let way = way(entry)?;
    let trial = Trial { name: name.clone(), has_run: !matches!(way, Way::Start) };
    keep_spec(runner, &entry.name)
        .map_err(|e| format!("was not deployed: its spec could not be kept: {e}"))?;
    runner.change_releases(entry, |releases| releases.begin(trial.clone()))?;
    let how = How { wait: true, read: None };
    let taken = match way {
        Way::Reload => reload::reload(runner, entry, &how).await,
        Way::Restart => restart(runner, entry, &how).await,
        Way::Start => start(runner, entry, &how).await,
    };
    let held = match taken {
        Ok(text) => watch::watch(entry, spec, name, rules.watch).await.map(|()| text),
        Err(why) => Err(why),
    };
    match held {
        Err(why) => Err(go_back(runner, entry, &trial, &why).await),
        Ok(text) => match runner.change_releases(entry, Releases::confirm) {
            Ok(_) => Ok(text),
            Err(error) => Err(format!(
                "runs release {name}, but that could not be saved: {error}\nWhen the runner is started anew the release before comes back: make room, and deploy {name} again"
            )),
        },
    }
}

/// Keeps the spec as it is before a trial, or that there is none.
fn keep_spec(runner: &Runner, name: &EnvName) -> io::Result<()> {
    let kept = runner.places.spec_before_trial(name);
    match std::fs::read(runner.places.spec(name)) {
        Ok(bytes) => files::replace(&kept, &bytes, 0o600),
        Err(error) if error.kind() == io::ErrorKind::NotFound => files::remove_if_there(&kept),
        Err(error) => Err(error),
    }
}

/// Puts it back; its release, if it has one, is new to the monitor, for that reason.
fn put_spec_back(runner: &Runner, name: &EnvName, why: &str) -> io::Result<()> {
    let path = runner.places.spec(name);
    let kept = runner.places.spec_before_trial(name);
    let Some(mut spec) = read_if_there(&kept)? else { return files::remove_if_there(&path) };
    if let Some(release) = &mut spec.release {
        release.why = Some(why.lines().next().unwrap_or_default().to_owned());
    }
    spec_file::write(&path, &spec)
}

fn read_if_there(path: &Path) -> io::Result<Option<EnvSpec>> {
    match spec_file::read(path) {
        Ok(spec) => Ok(Some(spec)),
        Err(_) if !path.exists() => Ok(None),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}

/// What is told of a release that did not hold, and of what runs in its place.
async fn go_back(runner: &Rc<Runner>, entry: &Rc<Entry>, trial: &Trial, why: &str) -> String {
    let name = &trial.name;
    let mut said = format!("release {name} did not hold: {why}\n");
    let is_chosen_already = runner.releases(&entry.name).current() == Some(name);
    // What runs is put right also where a full disk keeps it from being written down.
    let reason = format!("release {name} did not hold: {why}, so it is taken back");
    if let Err(error) = put_spec_back(runner, &entry.name, &reason) {
        said = format!("{said}(its spec could not be put back: {error})\n");
    }
    let before = match runner.change_releases(entry, Releases::take_back) {
        Ok(known) => known.current().cloned(),
        Err(error) => {
            said = format!("{said}(that could not be saved, and it is still on trial: {error})\n");
            runner.releases(&entry.name).current().cloned()
        }
    };
    let before = match before {
        Some(before) => format!("release {before}"),
        None if trial.has_run => "what ran before".to_owned(),
        None => "no release".to_owned(),
    };
    if entry.ending.get() > 0 || runner.is_killing() {
        // Whoever stops it waits for this.
        return format!("{said}It is being stopped; a start brings {before}");
    }
    if !trial.has_run {
        return match stop(runner, entry, true).await {
            Ok(_) => format!("{said}It is stopped, as before; a start brings {before}"),
            Err(error) => format!("{said}It {error}"),
        };
    }
    let view = entry.seen();
    let serving = view.brief.filter(|brief| view.is_connected && brief.phase == Phase::Online);
    let is_put_back = match &serving {
        Some(_) if is_chosen_already => {
            return format!("{said}Release {name} was in use before too, and goes on");
        }
        Some(brief) if brief.release.as_ref() != Some(name) => {
            return format!("{said}No request was lost: {before} goes on");
        }
        // What serves goes on until the other one does.
        Some(_) => reload::reload_as_written(runner, entry).await,
        None => Err(String::new()),
    };
    let is_put_back = match is_put_back {
        Err(_) => restart_as_written(runner, entry).await,
        done => done,
    };
    match is_put_back {
        Ok(text) => format!("{said}Back to {before}: it {text}"),
        Err(error) => format!("{said}Back to {before}, but it {error}"),
    }
}

/// A runner that was killed in the middle of a deployment left a release on trial: what was before is put back. Of one
/// that does not run, before it is started.
pub fn end_resting(runner: &Runner, entry: &Entry) {
    let Some(trial) = runner.releases(&entry.name).trial else { return };
    let failed = format!("release {} was on trial when the runner ended", trial.name);
    if let Err(error) = put_spec_back(runner, &entry.name, &failed) {
        tracing::error!(
            "{}: {failed}, and what was before could not be put back: {error}",
            entry.name
        );
    }
    let known = runner.change_releases(entry, Releases::take_back);
    let wanted = if trial.has_run { Ok(()) } else { runner.want(entry, Wanted::Stopped) };
    match (known, wanted) {
        (Ok(_), Ok(())) => tracing::warn!("{}: {failed}, so it is taken back", entry.name),
        (Err(error), _) | (_, Err(error)) => tracing::error!("{}: {failed}: {error}", entry.name),
    }
}

/// The same of one that runs, once its monitor is there.
pub async fn end_running(runner: Rc<Runner>, entry: Rc<Entry>) {
    if runner.releases(&entry.name).trial.is_none() {
        return;
    }
    let Some(_order) = super::take_turn(&entry, super::Verb::Reload).await else { return };
    let Some(trial) = runner.releases(&entry.name).trial else { return };
    let mut views = entry.view.subscribe();
    let connected = views.wait_for(|view| view.is_connected && view.brief.is_some());
    let _ = tokio::time::timeout(Duration::from_secs(5), connected).await;
    let said = go_back(&runner, &entry, &trial, "the runner ended meanwhile").await;
    tracing::warn!("{}: {said}", entry.name);
}
