//! What environments did, used and wrote before: their journals, histories and logs, as files.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::answer::refusal;
use super::entry::Entry;
use super::registry::Runner;
use super::show::one;
use crate::formats::{history, journal, log_tail};
use crate::model::{LogPart, LogPlace};
use crate::sys::clock;
use crate::wire::ask::{Answer, EventLine, EventsDocument, HistoryDocument, Refusal, Stretch};

/// The most spans of one answer: the caller asks for what follows.
const MOST_SPANS: usize = 2_000;

/// The most events of one answer.
const MOST_EVENTS: usize = 5_000;

/// How long a reading may take before the caller is told that the disk is slow.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// Reads files in a thread of its own: neither many of them nor a disk that hangs holds the runner up. A few at once, so
/// that no caller takes all its memory.
async fn reading<T: Send + 'static>(
    runner: &Runner,
    read: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Refusal> {
    let busy = || {
        let text = "the disk does not answer, or too much of it is asked for; try again";
        refusal("busy", text)
    };
    let deadline = tokio::time::Instant::now() + READ_WITHIN;
    let permit = Arc::clone(&runner.reads).acquire_owned();
    let Ok(Ok(permit)) = tokio::time::timeout_at(deadline, permit).await else {
        return Err(busy());
    };
    let reads = tokio::task::spawn_blocking(move || {
        // Given back when it has been read, whoever waits for it still.
        let _permit = permit;
        read()
    });
    match tokio::time::timeout_at(deadline, reads).await {
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(text))) => Err(refusal("failed", text)),
        Ok(Err(_)) => Err(refusal("failed", "the runner lost this request")),
        Err(_) => Err(busy()),
    }
}

/// The history of one environment.
pub async fn history(
    runner: &Rc<Runner>,
    entries: &[Rc<Entry>],
    stretch: Stretch,
) -> Result<Answer, Refusal> {
    let entry = one(entries)?;
    let now = clock::wall_millis() / 1000;
    let until = stretch.until.unwrap_or(now).min(now);
    let named = |step| history::RINGS.into_iter().find(|ring| ring.step_s == step);
    let ring = match stretch.step_s {
        Some(step) => named(step).ok_or_else(|| {
            let steps = history::RINGS.map(|ring| ring.step_s.to_string()).join(", ");
            let text = format!("there is no history by {step} s; there is by {steps}");
            refusal("bad-request", text)
        })?,
        None => history::ring_for(stretch.since, now),
    };
    let path = runner.places.history(&entry.name);
    let read = move || match history::read(&path, ring, stretch.since, until) {
        Ok(spans) => Ok(spans),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("could not read the history \"{}\": {error}", path.display())),
    };
    let mut spans = reading(runner, read).await?;
    let has_more = spans.len() > MOST_SPANS;
    spans.truncate(MOST_SPANS);
    let environment = entry.name.to_string();
    let memory_max = super::targets::saved_spec(runner, &entry.name)
        .map(|spec| spec.limits.memory_max * u64::from(spec.instances));
    Ok(Answer::History(Box::new(HistoryDocument {
        schema: 1,
        environment,
        step_s: ring.step_s,
        memory_max,
        spans,
        has_more,
    })))
}

/// The last events of environments, by time.
pub async fn events(
    runner: &Rc<Runner>,
    entries: &[Rc<Entry>],
    count: usize,
) -> Result<Answer, Refusal> {
    let count = count.min(MOST_EVENTS);
    let journals: Vec<_> = entries
        .iter()
        .map(|entry| (entry.name.to_string(), runner.places.journal(&entry.name)))
        .collect();
    let read = move || {
        let mut events: Vec<EventLine> = Vec::new();
        for (environment, journal) in journals {
            let of_it = journal::last(&journal, count)
                .map_err(|e| format!("could not read the journal of \"{environment}\": {e}"))?;
            let line = |event| EventLine { environment: environment.clone(), event };
            events.extend(of_it.into_iter().map(line));
            // RFC 3339 in UTC sorts by its text.
            events.sort_by(|a, b| a.event.at.cmp(&b.event.at));
            events.drain(..events.len().saturating_sub(count));
        }
        Ok(events)
    };
    let events = reading(runner, read).await?;
    Ok(Answer::Events(EventsDocument { schema: 1, events }))
}

/// What one wrote to its logs, behind the places of `after`.
pub async fn logs(
    runner: &Rc<Runner>,
    entries: &[Rc<Entry>],
    mut after: BTreeMap<String, LogPlace>,
) -> Result<Answer, Refusal> {
    let entry = one(entries)?;
    let folder = runner.places.logs(&entry.name);
    let read = move || {
        let mut parts: BTreeMap<String, LogPart> = BTreeMap::new();
        for stream in ["out", "err"] {
            let path = folder.join(format!("{stream}.log"));
            let part = log_tail::tail(&path, after.remove(stream))
                .map_err(|e| format!("could not read the log \"{}\": {e}", path.display()))?;
            parts.extend(part.map(|part| (stream.to_owned(), part)));
        }
        Ok(parts)
    };
    Ok(Answer::Logs(reading(runner, read).await?))
}
