//! What environments did, used and wrote before: their journals, histories and logs, as files.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::answer::refusal;
use super::registry::{Entry, Runner};
use super::show::one;
use crate::formats::{history, journal, log_tail};
use crate::model::{LogPart, LogPlace};
use crate::sys::clock;
use crate::wire::ask::{Answer, EventLine, EventsDocument, HistoryDocument, Refusal, Stretch};

/// The most spans of one answer: the caller asks for what follows.
const MOST_SPANS: usize = 2_000;

/// The most events of one answer.
const MOST_EVENTS: usize = 5_000;

/// The history of one environment.
pub fn history(
    runner: &Rc<Runner>,
    entries: &[Rc<Entry>],
    stretch: &Stretch,
) -> Result<Answer, Refusal> {
    let entry = one(entries)?;
    let now = clock::wall_millis() / 1000;
    let until = stretch.until.unwrap_or(now);
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
    let mut spans = match history::read(&path, ring, stretch.since, until) {
        Ok(spans) => spans,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let text = format!("could not read the history \"{}\": {error}", path.display());
            return Err(refusal("failed", text));
        }
    };
    let has_more = spans.len() > MOST_SPANS;
    spans.truncate(MOST_SPANS);
    let environment = entry.name.to_string();
    let memory_max = super::answer::saved_spec(runner, &entry.name)
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
pub fn events(runner: &Runner, entries: &[Rc<Entry>], count: usize) -> Result<Answer, Refusal> {
    let count = count.min(MOST_EVENTS);
    let mut events = Vec::new();
    for entry in entries {
        let of_it = journal::last(&runner.places.journal(&entry.name), count).map_err(|e| {
            refusal("failed", format!("could not read the journal of \"{}\": {e}", entry.name))
        })?;
        let environment = entry.name.to_string();
        events.extend(
            of_it.into_iter().map(|event| EventLine { environment: environment.clone(), event }),
        );
    }
    // RFC 3339 in UTC sorts by its text.
    events.sort_by(|a, b| a.event.at.cmp(&b.event.at));
    let events = events.split_off(events.len().saturating_sub(count));
    Ok(Answer::Events(EventsDocument { schema: 1, events }))
}

/// What one wrote to its logs, behind the places of `after`.
pub async fn logs(
    runner: &Runner,
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
        Ok::<_, String>(parts)
    };
    // A disk of logs that hangs is not to hold the runner up.
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(parts)) => Ok(Answer::Logs(parts)),
        Ok(Err(text)) => Err(refusal("failed", text)),
        Err(_) => Err(refusal("failed", "the runner lost this request")),
    }
}
