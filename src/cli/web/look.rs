//! What the page asks for, and the documents that it gets: those of the runner, with words where a person reads them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::cli::client::{look, unexpected};
use crate::cli::exit::Failure;
use crate::formats::clean::clean;
use crate::formats::log_line::{Piece, parse_line, time_text};
use crate::formats::words;
use crate::formats::words::leak::sentence;
use crate::model::{EnvName, EventKind, LogPart, LogPlace, Places, StatusDocument, UsageSpan};
use crate::sys::clock;
use crate::wire::ask::{Answer, Ask, EventLine, HistoryDocument, Stretch};

/// How far the charts go back: hours, and the seconds of a span.
const STRETCHES: [(u64, u32); 5] = [(1, 10), (6, 60), (24, 60), (168, 3600), (720, 3600)];

/// How many events there are.
const EVENTS: usize = 60;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The state of all.
    Status,
    /// What one used.
    History { environment: String, hours: u64, step_s: u32 },
    /// What happened to one.
    Events { environment: String },
    /// What it writes.
    Logs { environment: String, after: BTreeMap<String, LogPlace> },
}

impl Query {
    /// Reads `/api/WORD?QUERY`.
    pub fn parse(word: &str, query: &str) -> Option<Self> {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=')?;
            fields.insert(key, value);
        }
        let environment = || {
            let name = EnvName::parse(fields.get("environment")?).ok()?;
            Some(name.to_string())
        };
        Some(match word {
            "status" => Self::Status,
            "history" => {
                let wanted: u64 = fields.get("hours")?.parse().ok()?;
                let (hours, step_s) = STRETCHES.into_iter().find(|(hours, _)| *hours == wanted)?;
                Self::History { environment: environment()?, hours, step_s }
            }
            "events" => Self::Events { environment: environment()? },
            "logs" => {
                let after =
                    fields.get("after").map_or(Some(BTreeMap::new()), |text| places(text))?;
                Self::Logs { environment: environment()?, after }
            }
            _ => return None,
        })
    }
}

/// `out-64769.1234.5678.90_err-…`: nothing that an address would escape.
fn places(text: &str) -> Option<BTreeMap<String, LogPlace>> {
    let place = |text: &str| {
        let (stream, numbers) = text.split_once('-')?;
        let numbers: Vec<u64> =
            numbers.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [device, inode, offset, head] = numbers[..] else { return None };
        let head = u32::try_from(head).ok()?;
        Some((stream.to_owned(), LogPlace { file: (device, inode), offset, head }))
    };
    text.split('_').filter(|text| !text.is_empty()).map(place).collect()
}

fn place_text(places: &BTreeMap<String, LogPlace>) -> String {
    let place = |(stream, place): (&String, &LogPlace)| {
        format!("{stream}-{}.{}.{}.{}", place.file.0, place.file.1, place.offset, place.head)
    };
    places.iter().map(place).collect::<Vec<_>>().join("_")
}

/// The document, as JSON.
///
/// # Errors
/// The runner cannot be reached, or refused.
pub fn ask(places: &Places, query: &Query) -> Result<String, Failure> {
    match query {
        Query::Status => {
            let asked = look(places, &Ask::Status { targets: Vec::new() })?;
            let Answer::Status(status) = asked else { return Err(unexpected()) };
            let asked = look(places, &Ask::Ports { targets: Vec::new() })?;
            let Answer::Ports(ports) = asked else { return Err(unexpected()) };
            let mut queues: BTreeMap<&str, u64> = BTreeMap::new();
            for line in &ports.ports {
                if let Some(queue) = line.queue {
                    *queues.entry(&line.environment).or_default() += u64::from(queue);
                }
            }
            let leaks = status.environments.iter().map(|one| (&*one.name, sentence(&one.leak)));
            json(&Overview { status: &status, queues, leaks: leaks.collect() })
        }
        Query::History { environment, hours, step_s } => {
            let since = (clock::wall_millis() / 1000).saturating_sub(hours * 3600);
            let stretch = Stretch { since, until: None, step_s: Some(*step_s) };
            let ask = Ask::History { target: environment.clone(), stretch };
            let Answer::History(history) = look(places, &ask)? else { return Err(unexpected()) };
            json(&chart(&history, since))
        }
        Query::Events { environment } => {
            let ask = Ask::Events { targets: vec![environment.clone()], count: EVENTS };
            let Answer::Events(events) = look(places, &ask)? else { return Err(unexpected()) };
            json(&events.events.iter().map(happening).collect::<Vec<_>>())
        }
        Query::Logs { environment, after } => {
            let ask = Ask::Logs { target: environment.clone(), after: after.clone() };
            let Answer::Logs(parts) = look(places, &ask)? else { return Err(unexpected()) };
            json(&lines(&parts))
        }
    }
}

/// What an app has written can stand in reasons, names of programs and lines: nothing of it may hide or turn round what
/// a browser shows.
fn json(document: &impl Serialize) -> Result<String, Failure> {
    fn clean_all(value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(cleaned) = clean(text) {
                    *text = cleaned;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(clean_all),
            Value::Object(fields) => fields.values_mut().for_each(clean_all),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let value = serde_json::to_value(document);
    let mut value =
        value.map_err(|e| Failure::failed(format!("the document could not be made: {e}")))?;
    clean_all(&mut value);
    Ok(value.to_string())
}

#[derive(Serialize)]
struct Overview<'a> {
    #[serde(flatten)]
    status: &'a StatusDocument,
    /// Connections that wait, by environment; of one that is not named it is not known.
    queues: BTreeMap<&'a str, u64>,
    /// What is made of its memory, in words.
    leaks: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct Chart {
    since: u64,
    step_s: u32,
    memory_max: Option<u64>,
    columns: [&'static str; 7],
    rows: Vec<Row>,
}

/// A span, as `columns` names its parts.
type Row = (u64, Option<u64>, Option<u64>, Option<f64>, Option<f64>, Option<u64>, u16);

/// Columns in place of objects: a day has 1,440 spans.
fn chart(history: &HistoryDocument, since: u64) -> Chart {
    let tenth = |value: Option<f64>| value.map(|value| (value * 10.0).round() / 10.0);
    let row = |span: &UsageSpan| -> Row {
        let (cpu, pressure) = (tenth(span.cpu_percent), tenth(span.memory_pressure));
        (span.at, span.anon_max, span.current_max, cpu, pressure, span.queue_max, span.restarts)
    };
    Chart {
        since,
        step_s: history.step_s,
        memory_max: history.memory_max,
        columns: ["at", "anon", "current", "cpu", "pressure", "queue", "restarts"],
        rows: history.spans.iter().map(row).collect(),
    }
}

#[derive(Serialize)]
struct Happening<'a> {
    at: &'a str,
    tone: &'static str,
    text: String,
}

fn happening(line: &EventLine) -> Happening<'_> {
    let tone = match line.event.kind.notice() {
        None | Some("started" | "stopped" | "restarted") => "plain",
        Some("refused" | "warning" | "leak" | "lines-lost") => "warn",
        _ if matches!(line.event.kind, EventKind::Ended { code: Some(0), .. }) => "plain",
        Some(_) => "bad",
    };
    Happening { at: &line.event.at, tone, text: words::event(&line.event) }
}

#[derive(Serialize)]
struct Lines {
    after: String,
    /// Lines before these are not shown.
    skipped: bool,
    more: bool,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    at: Option<String>,
    stream: String,
    instance: Option<u32>,
    text: String,
    #[serde(skip)]
    goes_on: bool,
    #[serde(skip)]
    millis: u64,
}

/// Both streams as one, by time.
fn lines(parts: &BTreeMap<String, LogPart>) -> Lines {
    let mut all: Vec<Line> = Vec::new();
    for (stream, part) in parts {
        let mut of_stream: Vec<Line> = Vec::new();
        // A line that is not a monitor's counts as written with the one before it.
        let mut millis = 0;
        for text in part.text.lines() {
            let read = parse_line(text.as_bytes());
            millis = read.as_ref().map_or(millis, |read| read.at_millis);
            let instance = read.as_ref().map(|read| read.instance);
            let goes_on = read.as_ref().is_some_and(|read| read.piece == Piece::GoesOn);
            let at = read.as_ref().map(|read| time_text(read.at_millis));
            let own = read.map_or(text.as_bytes(), |read| read.text);
            let own = String::from_utf8_lossy(own.strip_suffix(b"\r").unwrap_or(own));
            match of_stream.last_mut() {
                Some(last) if last.goes_on && last.instance == instance => {
                    last.text.push_str(&own);
                    last.goes_on = goes_on;
                }
                _ => {
                    let at = at.map(|at| String::from_utf8_lossy(&at).into_owned());
                    let (stream, text) = (stream.clone(), own.into_owned());
                    of_stream.push(Line { at, stream, instance, text, goes_on, millis });
                }
            }
        }
        all.extend(of_stream);
    }
    all.sort_by_key(|line| line.millis);
    let after = parts.iter().map(|(stream, part)| (stream.clone(), part.place)).collect();
    Lines {
        after: place_text(&after),
        skipped: parts.values().any(|part| part.skipped),
        more: parts.values().any(|part| part.has_more),
        lines: all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_and_others_refused() {
        assert_eq!(Query::parse("status", ""), Some(Query::Status));
        let shop = || "shop".to_owned();
        assert_eq!(
            Query::parse("history", "environment=shop&hours=24"),
            Some(Query::History { environment: shop(), hours: 24, step_s: 60 })
        );
        let place = |offset| LogPlace { file: (1, 2), offset, head: 7 };
        let after: BTreeMap<_, _> =
            [("err".to_owned(), place(0)), ("out".to_owned(), place(u64::MAX))].into();
        let text = place_text(&after);
        assert_eq!(
            Query::parse("logs", &format!("environment=shop&after={text}")),
            Some(Query::Logs { environment: shop(), after })
        );
        assert!(Query::parse("logs", "environment=shop&after=").is_some());
        for (word, query) in [
            ("", ""),
            ("kill", ""),
            ("history", "environment=shop"),
            ("history", "environment=shop&hours=2"),
            ("history", "environment=../x&hours=1"),
            ("events", ""),
            ("events", "environment=a%20b"),
            ("logs", "environment=shop&after=out"),
            ("logs", "environment=shop&after=out-1.2"),
            ("logs", "environment=shop&after=out-1.2.3"),
            ("logs", "environment=shop&after=out-1.2.-3.4"),
            ("status", "x"),
        ] {
            assert_eq!(Query::parse(word, query), None, "{word} {query}");
        }
    }

    #[test]
    fn logs_are_one_by_time() {
        let part = |text: &str| LogPart {
            place: LogPlace { file: (1, 2), offset: 3, head: 4 },
            text: text.to_owned(),
            skipped: false,
            has_more: false,
        };
        let parts: BTreeMap<String, LogPart> = [
            (
                "out".to_owned(),
                part("1970-01-01T00:00:00.001Z 1 one\n1970-01-01T00:00:00.004Z 1+ four \n1970-01-01T00:00:00.005Z 1 more\r\n"),
            ),
            (
                "err".to_owned(),
                part("1970-01-01T00:00:00.002Z 1 \u{1b}[31m<script>\u{202e}\nno stamp\n"),
            ),
        ]
        .into();
        let found = lines(&parts);
        let texts: Vec<_> = found.lines.iter().map(|line| (&*line.stream, &*line.text)).collect();
        assert_eq!(
            texts,
            [
                ("out", "one"),
                ("err", "\u{1b}[31m<script>\u{202e}"),
                ("err", "no stamp"),
                ("out", "four more")
            ]
        );
        assert_eq!(found.after, "err-1.2.3.4_out-1.2.3.4");
        // What goes to a browser has nothing in it that misleads.
        let sent = json(&found).expect("JSON");
        assert!(
            sent.contains(r"\\x1b[31m<script>\\u{202e}") && !sent.contains(['\u{1b}', '\u{202e}'])
        );
    }
}
