//! A new release on trial: it must neither die nor stop answering for a while.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::how_it_died;
use crate::daemon::registry::{Entry, View};
use crate::model::{EnvSpec, Phase};
use crate::policy::health::{STATUS_BYTES, Url, is_well, status};

/// How often its address is asked, how long an answer may take, and how many in a row may fail.
const EVERY: Duration = Duration::from_secs(1);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const MAY_FAIL: u32 = 2;

/// Returns once the environment, which has just come up, has been well for so long.
///
/// # Errors
/// It died, was restarted by itself or did not answer well; it was ordered to stop.
pub async fn watch(entry: &Entry, spec: &EnvSpec, within: Duration) -> Result<(), String> {
    let mut views = entry.view.subscribe();
    let restarts = entry.seen().brief.map_or(0, |brief| brief.restarts);
    let died = views.wait_for(|view| how_it_fails(view, restarts).is_some());
    let sick = async {
        match spec.health.as_ref().and_then(|health| Url::parse(&health.http)) {
            Some(url) => until_sick(&url).await,
            None => std::future::pending().await,
        }
    };
    if entry.ending.get() > 0 {
        return Err("it was ordered to stop".to_owned());
    }
    tokio::select! {
        view = died => {
            let why = view.ok().and_then(|view| how_it_fails(&view, restarts));
            Err(why.unwrap_or_else(|| "it was forgotten".to_owned()))
        }
        why = sick => Err(why),
        () = entry.cancel.notified() => Err("it was ordered to stop".to_owned()),
        () = tokio::time::sleep(within) => Ok(()),
    }
}

/// What is wrong with it; a monitor that is away comes back, and says then.
fn how_it_fails(view: &View, restarts: u32) -> Option<String> {
    let brief = view.brief.as_ref().filter(|_| view.is_connected)?;
    match brief.phase {
        Phase::Backoff | Phase::Errored | Phase::Stopped => Some(how_it_died(brief)),
        Phase::Blocked => Some("a port of it is taken".to_owned()),
        _ if brief.restarts > restarts => Some(how_it_died(brief)),
        Phase::Online | Phase::Starting | Phase::Stopping => None,
    }
}

/// Returns once its address has not answered well several times in a row.
async fn until_sick(url: &Url) -> String {
    let mut failed = 0;
    let mut next = Instant::now();
    loop {
        tokio::time::sleep_until(next).await;
        next = Instant::now() + EVERY;
        let answer = tokio::time::timeout(ANSWERS_WITHIN, ask(url)).await;
        let why = match answer {
            Ok(Ok(status)) if is_well(status) => {
                failed = 0;
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
    }
}

async fn ask(url: &Url) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(url.address).await?;
    stream.write_all(url.request().as_bytes()).await?;
    let mut answer = [0; STATUS_BYTES];
    stream.read_exact(&mut answer).await?;
    status(&answer)
}

/// Waits, for a while, until its monitor is connected and has said how it is.
pub async fn until_connected(entry: &Entry) {
    let mut views = entry.view.subscribe();
    let connected = views.wait_for(|view| view.is_connected && view.brief.is_some());
    let _ = tokio::time::timeout(super::ANSWERS_WITHIN, connected).await;
}
