//! Whether a release that has taken over holds: it must neither die nor stop answering for a while.

use std::cell::RefCell;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::how_it_died;
use crate::daemon::entry::{Entry, View};
use crate::model::{Cause, EnvSpec, Phase, ReleaseName};
use crate::policy::health::{STATUS_BYTES, Url, is_well, status};

/// How often its address is asked, how long an answer may take, and how many in a row may fail.
const EVERY: Duration = Duration::from_secs(1);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const MAY_FAIL: u32 = 2;

/// How long one that is away at the end of its time (a restart at a set time, a new monitor) may take to be back.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Returns once `name`, which has just come up, has been well for so long, and is.
///
/// # Errors
/// It died, was restarted by itself or did not answer well; it was ordered to stop; something else runs at the end.
pub async fn watch(
    entry: &Entry,
    spec: &EnvSpec,
    name: &ReleaseName,
    within: Duration,
) -> Result<(), String> {
    let mut views = entry.view.subscribe();
    let restarts = entry.seen().brief.map_or(0, |brief| brief.restarts);
    if entry.ending.get() > 0 {
        return Err(STOPPED.to_owned());
    }
    // What its address said last, while that is not well.
    let last = RefCell::new(None);
    let died = views.wait_for(|view| how_it_fails(view, restarts).is_some());
    let sick = async {
        match spec.health.as_ref().and_then(|health| Url::parse(&health.http)) {
            Some(url) => until_sick(&url, &last).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        view = died => {
            let why = view.ok().and_then(|view| how_it_fails(&view, restarts));
            return Err(why.unwrap_or_else(|| "it was forgotten".to_owned()));
        }
        why = sick => return Err(why),
        () = entry.cancel.notified() => return Err(STOPPED.to_owned()),
        () = tokio::time::sleep(within) => {}
    }
    if let Some(why) = last.borrow().as_ref() {
        return Err(format!("at the end of its time its health check failed: {why}"));
    }
    let is_up = |view: &View| {
        let brief = view.brief.as_ref().filter(|_| view.is_connected);
        brief.is_some_and(|brief| {
            brief.phase == Phase::Online && brief.release.as_ref() == Some(name)
        })
    };
    let up = tokio::select! {
        up = tokio::time::timeout(BACK_WITHIN, views.wait_for(is_up)) => up.is_ok_and(|up| up.is_ok()),
        () = entry.cancel.notified() => return Err(STOPPED.to_owned()),
    };
    if up { Ok(()) } else { Err("it does not run at the end of its time".to_owned()) }
}

const STOPPED: &str = "its environment was ordered to stop";

/// What is wrong with it; a monitor that is away comes back, and says then. A restart that was ordered, by its `cron`
/// say, is none of its deaths.
fn how_it_fails(view: &View, restarts: u32) -> Option<String> {
    let brief = view.brief.as_ref().filter(|_| view.is_connected)?;
    let is_ordered = brief
        .last_exit
        .as_ref()
        .is_some_and(|last| matches!(last.cause, Cause::Restarted | Cause::Stopped));
    match brief.phase {
        Phase::Backoff | Phase::Errored | Phase::Stopped => Some(how_it_died(brief)),
        Phase::Blocked => Some("a port of it is taken".to_owned()),
        _ if brief.restarts > restarts && !is_ordered => Some(how_it_died(brief)),
        Phase::Online | Phase::Starting | Phase::Stopping => None,
    }
}

/// Returns once its address has not answered well several times in a row.
async fn until_sick(url: &Url, last: &RefCell<Option<String>>) -> String {
    let mut failed = 0;
    let mut next = Instant::now();
    loop {
        tokio::time::sleep_until(next).await;
        next = Instant::now() + EVERY;
        let answer = tokio::time::timeout(ANSWERS_WITHIN, ask(url)).await;
        let why = match answer {
            Ok(Ok(status)) if is_well(status) => {
                failed = 0;
                last.replace(None);
                continue;
            }
            Ok(Ok(status)) => format!("it answered {status}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWERS_WITHIN.as_secs()),
        };
        failed += 1;
        if failed > MAY_FAIL {
            return format!("its health check failed {failed} times in a row: {why}");
        }
        last.replace(Some(why));
    }
}

async fn ask(url: &Url) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(url.address).await?;
    stream.write_all(url.request().as_bytes()).await?;
    let mut answer = [0; STATUS_BYTES];
    stream.read_exact(&mut answer).await?;
    status(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LastExit;
    use crate::wire::keep::Brief;

    #[test]
    fn only_deaths_of_its_own_count() {
        let view = |phase, restarts, cause| {
            let at = "2026-11-26T01:02:03Z".to_owned();
            let last_exit =
                Some(LastExit { cause, code: Some(0), signal: None, at, peak: None, detail: None });
            let brief = Brief {
                phase,
                reason: None,
                last_exit,
                ends: 1,
                pid: Some(1),
                restarts,
                online: 1,
                instances: 1,
                reloads: 0,
                reload_failed: None,
                release: None,
            };
            View { is_connected: true, brief: Some(brief), ..View::default() }
        };
        let fails = |view: &View| how_it_fails(view, 2).is_some();
        assert!(!fails(&view(Phase::Online, 2, Cause::Crash)), "from before");
        assert!(
            fails(&view(Phase::Online, 3, Cause::Crash))
                && fails(&view(Phase::Online, 3, Cause::MemoryCeiling))
        );
        // Its cron, a change of files, a leak.
        assert!(!fails(&view(Phase::Online, 3, Cause::Restarted)));
        assert!(!fails(&view(Phase::Stopping, 2, Cause::Crash)));
        for phase in [Phase::Backoff, Phase::Errored, Phase::Stopped, Phase::Blocked] {
            assert!(fails(&view(phase, 2, Cause::Crash)));
        }
        // A monitor that is away says nothing.
        let away = View { is_connected: false, ..view(Phase::Backoff, 9, Cause::Crash) };
        assert!(!fails(&away));
    }
}
