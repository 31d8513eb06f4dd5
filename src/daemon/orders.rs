//! Orders: from what the operator asked to a wanted state, and to an outcome that can be told.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::adhoc;
use super::entry::{Entry, View};
use super::keeper;
use super::link::Link;
use super::peers;
use super::profiles::{Known, Profiles};
use super::registry::Runner;
use crate::formats::{journal, spec_file};
use crate::model::{Cause, EnvName, EnvSpec, Phase, Release, Wanted};
use crate::sys::files;
use crate::wire::ask::Outcome;
use crate::wire::keep::{Brief, Reply, Request};

mod deploy;
mod flush;
mod reload;
mod trial;
mod upgrade;
mod waits;
mod watch;

use waits::{came_up, grace, how_it_died, until, until_decided, until_ended, until_stopped};

pub use deploy::{Chosen, deploy};
pub use trial::{end_resting, end_running};

/// How long an order waits for an environment that neither comes up nor fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most orders that wait for the one before them, for one environment.
const MOST_WAITING: u32 = 8;

/// How long a deployment that is called off may take to clear away what it made.
const CALLED_OFF_WITHIN: Duration = Duration::from_secs(15);

/// How long a monitor may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What an operator orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Run what does not run.
    Start,
    /// Stop gracefully.
    Stop,
    /// Stop, and start anew.
    Restart,
    /// Replace every instance by a new one that is up.
    Reload,
    /// Run so many instances.
    Scale(u32),
    /// Empty the logs.
    Flush,
    /// Let this runner's program take the monitor's place.
    Upgrade,
    /// Stop, and forget.
    Delete,
}

/// How an order is carried out.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// Until its outcome is known.
    pub wait: bool,
    /// By these profiles, which were read for all that it is for; else by its own as it is when its turn comes.
    pub read: Option<Rc<Profiles>>,
}

/// Carries out an order for one environment.
pub async fn carry_out(runner: Rc<Runner>, entry: Rc<Entry>, verb: Verb, how: How) -> Outcome {
    if verb == Verb::Flush {
        // It is in no other order's way.
        return outcome(&entry, verb, flush::flush(&runner, &entry).await);
    }
    let changes = matches!(verb, Verb::Start | Verb::Restart | Verb::Reload | Verb::Scale(_));
    let trial = if changes { runner.releases(&entry.name).trial } else { None };
    if let Some(trial) = trial {
        let text = format!(
            "is being deployed: release {} is on trial (\"swrun stop\" ends that)",
            trial.name
        );
        return Outcome { name: entry.name.to_string(), ok: false, text };
    }
    let Some(_order) = take_turn(&entry, verb).await else {
        let text = "has too many orders waiting; try again".to_owned();
        return Outcome { name: entry.name.to_string(), ok: false, text };
    };
    if !runner.knows(&entry) {
        // The order before this one deleted it.
        let text = "was deleted meanwhile".to_owned();
        return Outcome { name: entry.name.to_string(), ok: verb == Verb::Delete, text };
    }
    if changes {
        entry.begin_trace();
    }
    if matches!(verb, Verb::Start | Verb::Restart | Verb::Reload) {
        until_stopped(&entry).await;
    }
    let result = match verb {
        Verb::Flush => Ok(String::new()),
        Verb::Upgrade => upgrade::upgrade(&entry).await,
        Verb::Start => start(&runner, &entry, &how).await,
        Verb::Stop => stop(&runner, &entry, how.wait).await,
        Verb::Restart => restart(&runner, &entry, &how).await,
        Verb::Reload => reload::reload(&runner, &entry, &how).await,
        Verb::Scale(instances) => reload::scale(&runner, &entry, instances, how.wait).await,
        Verb::Delete => delete(&runner, &entry).await,
    };
    outcome(&entry, verb, result)
}

fn outcome(entry: &Entry, verb: Verb, result: Result<String, String>) -> Outcome {
    let (ok, text) = match result {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    tracing::info!("{}: {verb:?}: {text}", entry.name);
    Outcome { name: entry.name.to_string(), ok, text }
}

/// One order at a time, and few that wait: `None` is too many.
async fn take_turn(entry: &Entry, verb: Verb) -> Option<tokio::sync::MutexGuard<'_, ()>> {
    if entry.waiting.get() >= MOST_WAITING {
        return None;
    }
    let ends_it = u32::from(matches!(verb, Verb::Stop | Verb::Delete));
    entry.waiting.set(entry.waiting.get() + 1);
    entry.ending.set(entry.ending.get() + ends_it);
    if ends_it > 0 {
        // Who waits for it to come up waits in vain from here on.
        entry.cancel.notify_waiters();
    }
    let turn = entry.order.lock().await;
    entry.waiting.set(entry.waiting.get() - 1);
    entry.ending.set(entry.ending.get() - ends_it);
    Some(turn)
}

async fn start(runner: &Rc<Runner>, entry: &Rc<Entry>, how: &How) -> Result<String, String> {
    let mut views = entry.view.subscribe();
    let brief = Some(entry.seen()).filter(|view| view.is_connected).and_then(|view| view.brief);
    match brief.map(|brief| (brief.phase, brief.ends)) {
        Some((Phase::Online, _)) => {
            runner.want(entry, Wanted::Online)?;
            return Ok("is already online".to_owned());
        }
        Some((Phase::Starting, ends)) => {
            runner.want(entry, Wanted::Online)?;
            if !how.wait {
                return Ok("is starting already".to_owned());
            }
            return until(entry, &mut views, "start", Duration::ZERO, |view| {
                came_up(view, ends, None)
            })
            .await;
        }
        // It died or gave up: its profile may have been mended since, so it is read again.
        Some(_) => return restart(runner, entry, how).await,
        None => {}
    }
    renew_spec(runner, entry, how.read.as_deref()).await?;
    entry.did("read its profile, write its spec");
    let was_wanted = *entry.wanted.borrow();
    // What was wrong before this order (a damaged spec, say) is not its outcome.
    until_decided(&mut views).await;
    entry.view.send_modify(|view| view.trouble = None);
    runner.want(entry, Wanted::Online)?;
    entry.did("write down that it is wanted");
    if !how.wait {
        return Ok("is asked to start".to_owned());
    }
    let outcome =
        until(entry, &mut views, "start", Duration::ZERO, |view| came_up(view, 0, None)).await;
    entry.did("wait until it is up");
    // It could not be started at all: it is not left to try for ever behind the operator's back.
    let failed_to_start = |view: View| {
        view.brief.is_none_or(|brief| {
            brief.last_exit.is_some_and(|last| last.cause == Cause::StartFailed)
        })
    };
    if outcome.is_err() && was_wanted == Wanted::Stopped && failed_to_start(entry.seen()) {
        let _ = stop(runner, entry, true).await;
    }
    outcome
}

async fn restart(runner: &Rc<Runner>, entry: &Rc<Entry>, how: &How) -> Result<String, String> {
    let Some(link) = entry.connection() else {
        return Box::pin(start(runner, entry, how)).await;
    };
    let mut views = entry.view.subscribe();
    // As it was when the trial start had worked: what happened during that is not the outcome.
    let read = how.read.as_deref();
    let asked = ask_with_new_spec(runner, entry, &link, Request::Restart, read).await?;
    let seen = asked.map_err(not_restarted)?;
    runner.want(entry, Wanted::Online)?;
    if !how.wait {
        return Ok("is asked to restart".to_owned());
    }
    until_restarted(runner, entry, &mut views, &seen).await
}

/// The same with the spec as it is written, whatever the profile says.
async fn restart_as_written(runner: &Rc<Runner>, entry: &Rc<Entry>) -> Result<String, String> {
    let link = entry.connection().ok_or("does not run")?;
    let mut views = entry.view.subscribe();
    let seen = ask(&link, Request::Restart).await?.map_err(not_restarted)?;
    until_restarted(runner, entry, &mut views, &seen).await
}

fn not_restarted(why: String) -> String {
    format!("was not restarted, and goes on as it was: {why}")
}

async fn until_restarted(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    views: &mut tokio::sync::watch::Receiver<View>,
    seen: &Brief,
) -> Result<String, String> {
    let (ends, pid) = (seen.ends, seen.pid);
    let grace = grace(runner, entry);
    let outcome = until(entry, views, "restart", grace, |view| came_up(view, ends, pid)).await;
    entry.did("wait until it is up");
    outcome
}

/// Writes the spec as the profile is now and asks the monitor to go over to it; gives what it was like
/// when the monitor accepted, or why it did not: then the spec is as it was.
///
/// # Errors
/// The profile has errors, or the monitor does not answer.
async fn ask_with_new_spec(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    link: &Link,
    request: Request,
    read: Option<&Profiles>,
) -> Result<Result<Box<Brief>, String>, String> {
    let path = runner.places.spec(&entry.name);
    let before = std::fs::read(&path).ok();
    renew_spec(runner, entry, read).await?;
    entry.did("read its profile, write its spec");
    let asked = ask(link, request).await?;
    entry.did("wait until the start was tried out");
    if asked.is_err() {
        put_back(&path, before);
    }
    Ok(asked)
}

/// The same with the spec as it is written.
async fn ask(link: &Link, request: Request) -> Result<Result<Box<Brief>, String>, String> {
    match tokio::time::timeout(PATIENCE, link.ask(request)).await {
        Err(_) => Err(format!("its monitor did not answer within {} s", PATIENCE.as_secs())),
        Ok(Some(Reply::Accepted(seen))) => Ok(Ok(seen)),
        Ok(Some(Reply::Failed(why))) => Ok(Err(why)),
        Ok(Some(Reply::Report(_) | Reply::Ports(_) | Reply::Trace(_) | Reply::Done) | None) => {
            Err("its monitor ended meanwhile; see \"swrun status\"".to_owned())
        }
    }
}

/// What runs goes on with the spec it had, also when its monitor has to begin again.
fn put_back(path: &Path, before: Option<Vec<u8>>) {
    if let Some(before) = before
        && let Err(error) = files::replace(path, &before, 0o600)
    {
        tracing::error!("could not put back \"{}\": {error}", path.display());
    }
}

async fn stop(runner: &Rc<Runner>, entry: &Rc<Entry>, wait: bool) -> Result<String, String> {
    let mut views = entry.view.subscribe();
    runner.want(entry, Wanted::Stopped)?;
    until_decided(&mut views).await;
    let was_connected = entry.seen().is_connected;
    let grace = grace(runner, entry);
    end_monitor(runner, entry).await?;
    if !was_connected {
        return Ok("is already stopped".to_owned());
    }
    if !wait {
        return Ok("is asked to stop".to_owned());
    }
    until_ended(runner, entry, &mut views, grace).await?;
    keeper::shut(entry);
    runner.layout.clean(runner.driver.as_ref(), &runner.places, &entry.name);
    let how = entry.seen().brief.and_then(|brief| brief.last_exit);
    Ok(match how {
        Some(last) if last.cause == Cause::Deadline => {
            "is stopped (it did not end within its grace, and was killed)".to_owned()
        }
        _ => "is stopped".to_owned(),
    })
}

/// Ends the monitor with its app, whatever is wanted.
pub async fn end_monitor(runner: &Rc<Runner>, entry: &Rc<Entry>) -> Result<(), String> {
    // Also one that is not connected now: systemd may be about to start it again.
    if runner.layout.stop_unit(&entry.name).await? {
        return Ok(());
    }
    if let Some(link) = entry.connection() {
        // One that is gone has ended, and one that does not answer is waited for by the caller.
        let _ = tokio::time::timeout(ANSWERS_WITHIN, link.ask(Request::Stop)).await;
    }
    Ok(())
}

async fn delete(runner: &Rc<Runner>, entry: &Rc<Entry>) -> Result<String, String> {
    stop(runner, entry, true).await?;
    let known: Option<Known> = entry.known.borrow().clone();
    let kept = known.as_ref().filter(|known| !known.is_ad_hoc).map(|known| known.file.clone());
    // The tombstone first and, where no profile file is left, away last: a runner that is killed in
    // between must not bring it back.
    runner.want_deleted(&entry.name, true)?;
    let ad_hoc = known.filter(|known| known.is_ad_hoc).map(|known| known.file);
    let places = &runner.places;
    let name = &entry.name;
    let files = [
        places.spec(name),
        places.spec_before_trial(name),
        places.memory_of(name),
        places.history(name),
    ];
    for file in files.into_iter().chain(ad_hoc) {
        files::remove_if_there(&file)
            .map_err(|e| format!("could not remove \"{}\": {e}", file.display()))?;
    }
    journal::remove(&places.journal(&entry.name))
        .map_err(|e| format!("its journal could not be removed: {e}"))?;
    runner.want_deleted(&entry.name, kept.is_some())?;
    runner.forget(&entry.name);
    runner.reserve_ports();
    // Its keeper wakes and sees that it is forgotten.
    entry.wanted.send_modify(|_| ());
    let logs = places.logs(&entry.name);
    Ok(match kept {
        Some(file) => format!(
            "is deleted; its profile \"{}\" and its logs in \"{}\" are kept (\"swrun start {}\" brings it back)",
            file.display(),
            logs.display(),
            entry.name
        ),
        None => format!("is deleted; its logs in \"{}\" are kept", logs.display()),
    })
}

/// Ends every environment, and then the runner; what is wanted stays, so that a runner started again
/// brings all back.
pub async fn kill(runner: &Rc<Runner>) -> Vec<Outcome> {
    runner.begin_kill();
    // What is deployed is called off before.
    let entries = runner.entries();
    entries.iter().for_each(|entry| entry.cancel.notify_waiters());
    for entry in &entries {
        let called_off = async {
            while entry.is_deploying.get() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(CALLED_OFF_WITHIN, called_off).await;
    }
    let mut outcomes = Vec::new();
    for entry in runner.entries() {
        let mut views = entry.view.subscribe();
        until_decided(&mut views).await;
        let was_connected = entry.seen().is_connected;
        let grace = grace(runner, &entry);
        let mut outcome = end_monitor(runner, &entry).await;
        if !was_connected {
            continue;
        }
        if outcome.is_ok() {
            outcome = until_ended(runner, &entry, &mut views, grace).await;
        }
        runner.layout.clean(runner.driver.as_ref(), &runner.places, &entry.name);
        let (ok, text) = match outcome {
            Ok(()) => (true, "is stopped".to_owned()),
            Err(text) => (false, text),
        };
        outcomes.push(Outcome { name: entry.name.to_string(), ok, text });
    }
    if outcomes.iter().any(|outcome| !outcome.ok) {
        // It goes on, so it keeps what it has to keep.
        runner.end_kill();
    } else {
        runner.walls.fall(&runner.places);
        runner.layout.clean_all(runner.driver.as_ref());
    }
    outcomes
}

/// Reads the profile as it is now, or takes it from those that were `read`, whose ports are reserved, and writes the spec
/// that the monitor reads. An environment whose profile has gone keeps the spec it has.
///
/// # Errors
/// The profile has errors, or the spec could not be written: the one before is still there.
pub async fn renew_spec(
    runner: &Runner,
    entry: &Entry,
    read: Option<&Profiles>,
) -> Result<(), String> {
    let resolved = match read {
        Some(read) => read.resolve(&runner.places, &entry.name),
        None => runner.resolve(&entry.name),
    };
    let known = match resolved {
        Ok(known) => known,
        // Its profile has gone: it goes on with the last one. A file that still names it and has an
        // error is another matter.
        Err(_)
            if !runner.is_claimed(&entry.name)
                && spec_file::read(&runner.places.spec(&entry.name)).is_ok() =>
        {
            return Ok(());
        }
        Err(text) => return Err(format!("cannot be started:\n{text}")),
    };
    if read.is_some() {
        return write_reserved(runner, entry, known).await;
    }
    write_spec(runner, entry, known).await?;
    runner.reserve_ports();
    Ok(())
}

/// Writes the spec of a profile that was just read and whose ports are reserved, but for one that its .env names.
///
/// # Errors
/// As [`renew_spec`].
pub async fn write_reserved(runner: &Runner, entry: &Entry, known: Known) -> Result<(), String> {
    let is_looked_up = known.is_ad_hoc;
    let written = write_spec(runner, entry, known).await;
    if is_looked_up {
        runner.reserve_ports();
    }
    written
}

/// Writes the spec of a profile that was just read; its ports are still to be reserved.
///
/// # Errors
/// As [`renew_spec`].
pub async fn write_spec(runner: &Runner, entry: &Entry, mut known: Known) -> Result<(), String> {
    runner.keep_number(&known)?;
    adhoc::add_port_of_env_file(runner, &mut known).await?;
    if let (Some(spec), Some(scale)) =
        (&mut known.spec, runner.saved(&entry.name).and_then(|saved| saved.scale))
    {
        spec.instances = scale;
    }
    if let Some(spec) = &mut known.spec {
        if spec.deploy.is_some() {
            let in_use = runner.releases(&entry.name).in_use().cloned();
            let name = in_use.ok_or_else(|| no_release(&entry.name))?;
            spec.release = Some(Release { name, why: None });
        }
        peers::look_up(&mut spec.network).await?;
        #[cfg(debug_assertions)]
        spec.sandbox.leave_out();
    }
    let spec: &EnvSpec = known.spec.as_ref().ok_or("cannot be started: its profile has errors")?;
    for port in &spec.ports {
        if let Some(owner) = runner.runs_with(*port, &entry.name) {
            return Err(format!(
                "cannot be started: port {}/{} is still that of \"{owner}\", which runs with the profile it had; restart that one first",
                port.port,
                port.proto.word()
            ));
        }
    }
    let path = runner.places.spec(&entry.name);
    spec_file::write(&path, spec)
        .map_err(|e| format!("its spec \"{}\" could not be written: {e}", path.display()))?;
    *entry.known.borrow_mut() = Some(known);
    Ok(())
}

fn no_release(name: &EnvName) -> String {
    format!("has no release yet; run: swrun deploy {name} RELEASE")
}

/// Why an environment has nothing that could be started.
pub fn no_spec(runner: &Runner, name: &EnvName) -> String {
    match runner.resolve(name) {
        Ok(known) if known.spec.as_ref().is_some_and(|spec| spec.deploy.is_some()) => {
            format!("it {}", no_release(name))
        }
        Ok(_) => format!("it was never started; run: swrun start {name}"),
        Err(text) => text,
    }
}
