//! Orders that change instances while others serve: reload and scale.

use std::rc::Rc;
use std::time::Duration;

use super::{How, PATIENCE, ask, ask_with_new_spec, grace, put_back, start, until};
use crate::daemon::entry::{Entry, View};
use crate::daemon::registry::Runner;
use crate::formats::log_back::{Verdict, last_entries};
use crate::formats::spec_file;
use crate::model::{EnvSpec, Phase, Wanted};
use crate::wire::keep::{Brief, ReloadFailed, Reply, Request};

/// The lines of a failed instance's stderr that are told: Node's words of an error stand above ten of its trace.
const LINES: usize = 15;

/// The most instances: each is a process tree with a ceiling of its own.
const MOST_INSTANCES: u32 = 64;

/// Replaces every instance by a new one that is up; what does not run is started.
pub async fn reload(runner: &Rc<Runner>, entry: &Rc<Entry>, how: &How) -> Result<String, String> {
    let brief = Some(entry.seen()).filter(|view| view.is_connected).and_then(|view| view.brief);
    let (phase, online) = brief.map_or((Phase::Stopped, 0), |brief| (brief.phase, brief.online));
    if phase != Phase::Online && online > 0 {
        return Err(format!(
            "was not reloaded: it is {}, and {online} of its instances serve; wait, or use restart",
            phase.word()
        ));
    }
    let Some(link) = entry.connection().filter(|_| phase == Phase::Online) else {
        // Nothing serves that could go on meanwhile.
        return start(runner, entry, how).await;
    };
    let path = runner.places.spec(&entry.name);
    let before = std::fs::read(&path).ok();
    let mut views = entry.view.subscribe();
    let read = how.read.as_deref();
    let asked = ask_with_new_spec(runner, entry, &link, Request::Reload, read).await?;
    let seen = asked.map_err(not_reloaded)?;
    runner.want(entry, Wanted::Online)?;
    if !how.wait {
        return Ok("is asked to reload".to_owned());
    }
    let outcome = until_reloaded(runner, entry, &mut views, &seen).await;
    if outcome.is_err() && entry.seen().brief.is_some_and(|brief| brief.reload_failed.is_some()) {
        put_back(&path, before);
    }
    outcome
}

/// The same with the spec as it is written, whatever the profile says.
///
/// # Errors
/// It does not run, or was not reloaded.
pub async fn reload_as_written(runner: &Rc<Runner>, entry: &Rc<Entry>) -> Result<String, String> {
    let link = entry.connection().ok_or("does not run")?;
    let mut views = entry.view.subscribe();
    let seen = ask(&link, Request::Reload).await?.map_err(not_reloaded)?;
    until_reloaded(runner, entry, &mut views, &seen).await
}

fn not_reloaded(why: String) -> String {
    format!("was not reloaded, and goes on as it was: {why}")
}

async fn until_reloaded(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    views: &mut tokio::sync::watch::Receiver<View>,
    seen: &Brief,
) -> Result<String, String> {
    // Each may take as long as one that comes up alone.
    let more = (grace(runner, entry) + PATIENCE) * u32::try_from(seen.instances).unwrap_or(1);
    let decided = |view: &View| {
        let brief = view.brief.as_ref().filter(|brief| brief.reloads > seen.reloads)?;
        Some(match &brief.reload_failed {
            Some(failed) => Err(why_it_failed(runner, entry, failed)),
            None => Ok(match brief.pid {
                Some(pid) => format!("is reloaded, pid {pid}"),
                None => "is reloaded".to_owned(),
            }),
        })
    };
    let outcome = until(entry, views, "reload", more, decided).await;
    // A port that was dropped may be another's, who is stopped.
    runner.reserve_ports();
    outcome
}

/// Runs `instances` instances, now or from the next start on.
pub async fn scale(
    runner: &Rc<Runner>,
    entry: &Rc<Entry>,
    instances: u32,
    wait: bool,
) -> Result<String, String> {
    if !(1..=MOST_INSTANCES).contains(&instances) {
        return Err(format!(
            "was not scaled: the number of instances must be 1 to {MOST_INSTANCES}; to end all say \"swrun stop {}\"",
            entry.name
        ));
    }
    let before = runner.saved(&entry.name).and_then(|saved| saved.scale);
    runner.want_scale(entry, Some(instances))?;
    let Some(link) = entry.connection() else {
        return Ok(format!("will have {instances} instances when it is started"));
    };
    let path = runner.places.spec(&entry.name);
    let mut spec = spec_file::read(&path)
        .map_err(|e| format!("its spec \"{}\" could not be read: {e}", path.display()))?;
    let had = spec.instances;
    // What runs goes on with what it has, but for their number.
    let write = |spec: &EnvSpec| {
        spec_file::write(&path, spec)
            .map_err(|e| format!("its spec \"{}\" could not be written: {e}", path.display()))
    };
    spec.instances = instances;
    write(&spec)?;
    let mut views = entry.view.subscribe();
    match tokio::time::timeout(PATIENCE, link.ask(Request::Scale)).await {
        Ok(Some(Reply::Accepted(_))) => {}
        Ok(Some(Reply::Failed(why))) => {
            spec.instances = had;
            write(&spec)?;
            runner.want_scale(entry, before)?;
            return Err(format!("was not scaled: {why}"));
        }
        Ok(_) | Err(_) => return Err("was not scaled: its monitor does not answer".to_owned()),
    }
    if !wait {
        return Ok(format!("is asked to have {instances} instances"));
    }
    let wanted = instances as usize;
    let decided = |view: &View| {
        let brief = view.brief.as_ref().filter(|_| view.is_connected)?;
        let is_done = brief.online == wanted && brief.instances == wanted;
        is_done.then(|| Ok(format!("has {instances} instances")))
    };
    until(entry, &mut views, "scale", grace(runner, entry) + Duration::from_secs(5), decided).await
}

/// The reason, and what the new instance said at the end.
fn why_it_failed(runner: &Runner, entry: &Entry, failed: &ReloadFailed) -> String {
    let ReloadFailed { instance, reason } = failed;
    let mut text = format!("was not reloaded, the old one goes on: {reason}");
    for line in last_lines(runner, entry, *instance).unwrap_or_default() {
        text.push_str("\n  ");
        text.push_str(&line);
    }
    text
}

fn last_lines(runner: &Runner, entry: &Entry, instance: u32) -> std::io::Result<Vec<String>> {
    let path = runner.places.logs(&entry.name).join("err.log");
    // The last ones of all, and of those its own: what others said meanwhile is not looked past.
    let lines = last_entries(&path, LINES, |_| Verdict::Counts)?;
    let own = lines.into_iter().filter(|line| line.instance == Some(instance));
    Ok(own.map(|line| String::from_utf8_lossy(&line.text).trim_end().to_owned()).collect())
}
