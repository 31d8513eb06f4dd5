//! Waiting for what an order leads to, and telling it in words.

use std::time::Duration;

use super::PATIENCE;
use crate::daemon::entry::{Entry, View};
use crate::daemon::registry::Runner;
use crate::formats::spec_file;
use crate::model::{Cause, Phase, Wanted};
use crate::wire::keep::Brief;

/// `Some` once it is decided whether a start or restart worked; `ends` and `pid` are those from before.
pub(super) fn came_up(view: &View, ends: u64, pid: Option<i32>) -> Option<Result<String, String>> {
    if let Some(trouble) = &view.trouble {
        return Some(Err(format!("could not be started: {trouble}")));
    }
    let brief = view.brief.as_ref().filter(|_| view.is_connected)?;
    match brief.phase {
        Phase::Online if pid.is_none() || brief.pid != pid => {
            let pid = brief.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
            Some(Ok(format!("is online, pid {pid}")))
        }
        Phase::Backoff | Phase::Errored | Phase::Stopped if brief.ends > ends => {
            Some(Err(how_it_died(brief)))
        }
        Phase::Blocked if brief.ends > ends => {
            let why = brief.reason.as_deref().unwrap_or("a port of it is taken");
            Some(Err(format!("is blocked: {why} (\"--evict\" ends that one)")))
        }
        _ => None,
    }
}

pub(super) fn how_it_died(brief: &Brief) -> String {
    let Some(last) = &brief.last_exit else { return "did not come up".to_owned() };
    let how = match (&last.detail, last.code, &last.signal) {
        (Some(detail), ..) => detail.clone(),
        (None, Some(code), _) => format!("it ended with code {code}"),
        (None, None, Some(signal)) => format!("it was ended by {signal}"),
        (None, None, None) => "it ended".to_owned(),
    };
    match (last.cause, brief.phase) {
        (Cause::StartFailed, _) => format!("could not be started: {how}"),
        (cause, Phase::Errored | Phase::Stopped) => {
            format!("died ({}): {how}; there is no next try", cause.word())
        }
        (cause, _) => {
            format!("died ({}): {how}; it is tried again (see \"swrun logs --err\")", cause.word())
        }
    }
}

pub(super) async fn until(
    entry: &Entry,
    views: &mut tokio::sync::watch::Receiver<View>,
    verb: &str,
    more: Duration,
    decided: impl Fn(&View) -> Option<Result<String, String>>,
) -> Result<String, String> {
    let patience = PATIENCE + more;
    let was_cancelled = || Err(format!("did not {verb}: it was ordered to stop meanwhile"));
    if entry.ending.get() > 0 {
        // It was told before this order came to its wait, and is not told again.
        return was_cancelled();
    }
    let waited = {
        let wait = views.wait_for(|view| decided(view).is_some());
        tokio::select! {
            () = entry.cancel.notified() => return was_cancelled(),
            waited = tokio::time::timeout(patience, wait) => {
                waited.map(|view| view.map(|view| view.clone()))
            }
        }
    };
    match waited {
        Ok(Ok(view)) => decided(&view).unwrap_or_else(|| Err("was lost".to_owned())),
        Ok(Err(_)) => Err("was forgotten meanwhile".to_owned()),
        Err(_) => {
            let why = views.borrow().brief.as_ref().and_then(|brief| brief.reason.clone());
            let why = why.unwrap_or_else(|| "its monitor does not say why".to_owned());
            Err(format!("did not {verb} within {} s: {why}; it goes on trying", patience.as_secs()))
        }
    }
}

/// A monitor that is on its way up is waited for: it could not be told to end yet.
pub(super) async fn until_decided(views: &mut tokio::sync::watch::Receiver<View>) {
    let _ = views.wait_for(|view| !view.is_launching).await;
}

/// A stop that nobody waited for is under way: its monitor ends, and cannot be told to begin anew.
pub(super) async fn until_stopped(entry: &Entry) {
    let view = entry.seen();
    let phase = view.brief.filter(|_| view.is_connected).map(|brief| brief.phase);
    let is_ending = matches!(phase, Some(Phase::Stopping | Phase::Stopped));
    if is_ending && *entry.wanted.borrow() == Wanted::Stopped {
        let mut views = entry.view.subscribe();
        let _ = tokio::time::timeout(PATIENCE, until_gone(&mut views)).await;
    }
}

/// The grace that the monitor gives the app it runs.
pub(super) fn grace(runner: &Runner, entry: &Entry) -> Duration {
    let spec = spec_file::read(&runner.places.spec(&entry.name));
    spec.map_or(PATIENCE, |spec| spec.stop.grace)
}

/// Waits for the end of a monitor that was asked to.
pub(super) async fn until_ended(
    runner: &Runner,
    entry: &Entry,
    views: &mut tokio::sync::watch::Receiver<View>,
    grace: Duration,
) -> Result<(), String> {
    let limit = grace + PATIENCE;
    match tokio::time::timeout(limit, until_gone(views)).await {
        Ok(()) => runner.layout.until_inactive(&entry.name, limit).await,
        Err(_) => Err(format!(
            "did not stop within {} s: its monitor does not end (see \"swrun show {}\"); it is not started again",
            limit.as_secs(),
            entry.name
        )),
    }
}

pub(super) async fn until_gone(views: &mut tokio::sync::watch::Receiver<View>) {
    let _ = views.wait_for(|view| !view.is_connected).await;
}
