//! Ends, events and times in words.

pub mod leak;

use std::time::Duration;

use jiff::Timestamp;

use super::clean::clean;
use crate::model::{Cause, Event, EventKind, LastExit, format_bytes, format_duration};

/// How an instance ended: `crash, exit code 1`, `memory-ceiling at 512M`.
#[must_use]
pub fn end(
    cause: Cause,
    code: Option<i32>,
    signal: Option<&str>,
    peak: Option<u64>,
    detail: Option<&str>,
) -> String {
    let mut text = cause.word().to_owned();
    let is_kill_of_ours = matches!(cause, Cause::MemoryCeiling | Cause::Deadline);
    match (code, signal) {
        (Some(code), _) if code != 0 => text.push_str(&format!(", exit code {code}")),
        (_, Some(signal)) if !is_kill_of_ours => text.push_str(&format!(", {}", clean(signal))),
        _ => {}
    }
    if matches!(cause, Cause::MemoryCeiling | Cause::MemoryHigh)
        && let Some(peak) = peak
    {
        text.push_str(&format!(" at {}", format_bytes(peak)));
    }
    if let Some(detail) = detail {
        text.push_str(&format!(": {}", clean(detail)));
    }
    text
}

/// [`end`] of the last instance, without its details.
#[must_use]
pub fn last_exit_short(last: &LastExit, now: Timestamp) -> String {
    let what = end(last.cause, last.code, last.signal.as_deref(), None, None);
    match ago(&last.at, now) {
        Some(ago) => format!("{what}, {ago} ago"),
        None => what,
    }
}

/// [`end`] of the last instance, with all that is known.
#[must_use]
pub fn last_exit_long(last: &LastExit, now: Timestamp) -> String {
    let signal = last.signal.as_deref();
    let what = end(last.cause, last.code, signal, last.peak, last.detail.as_deref());
    match ago(&last.at, now) {
        Some(ago) => format!("{what} ({ago} ago)"),
        None => what,
    }
}

/// How long ago an RFC 3339 time was; `None` where it cannot be read or lies ahead.
fn ago(at: &str, now: Timestamp) -> Option<String> {
    let at: Timestamp = at.parse().ok()?;
    let passed = Duration::try_from(now.duration_since(at)).ok()?;
    Some(format_duration(Duration::from_secs(passed.as_secs().max(1))))
}

/// Seconds in words, `?` where unknown.
#[must_use]
pub fn seconds(seconds: Option<u64>) -> String {
    match seconds {
        Some(0) => "0s".to_owned(),
        Some(seconds) => format_duration(Duration::from_secs(seconds)),
        None => "?".to_owned(),
    }
}

/// A size in words, `?` where unknown.
#[must_use]
pub fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "?".to_owned(), format_bytes)
}

/// An event in words, without its time.
#[must_use]
pub fn event(event: &Event) -> String {
    let of = match event.instance {
        Some(instance) => format!("instance {instance}: "),
        None => String::new(),
    };
    let what = match &event.kind {
        EventKind::MonitorStarted => "the monitor took over".to_owned(),
        EventKind::Upgraded { from } => {
            format!("the monitor was upgraded from {}; the app went on", clean(from))
        }
        EventKind::Started { pid } => format!("started, pid {pid}"),
        EventKind::Ended { cause, code, signal, peak, detail } => {
            format!("ended: {}", end(*cause, *code, signal.as_deref(), *peak, detail.as_deref()))
        }
        EventKind::Backoff { delay_ms } => {
            format!("next try in {}", format_duration(Duration::from_millis(*delay_ms)))
        }
        EventKind::GaveUp { reason } => format!("gave up: {}", clean(reason)),
        EventKind::Adopted { sockets } => {
            format!("{sockets} listening sockets of the monitor before were taken over")
        }
        EventKind::LinesLost { stream, lines, why } => {
            format!("{lines} lines of {} were lost: {}", clean(stream), clean(why))
        }
        EventKind::Reloaded { reason: None } => "reloaded".to_owned(),
        EventKind::Reloaded { reason: Some(reason) } => {
            format!("not reloaded, the old one goes on: {}", clean(reason))
        }
        EventKind::Blocked(by) => format!("blocked: {}", clean(&by.to_string())),
        EventKind::Refused { port, proto, program, pid, stranger, times } => {
            let who = if *stranger { "to another's" } else { "to its" };
            format!(
                "port {port}/{} was refused {who} \"{}\", pid {pid}{}",
                proto.word(),
                clean(program),
                often(*times)
            )
        }
        EventKind::RefusedConnection { to, proto, program, pid, times } => format!(
            "a connection to {}/{} was refused to its \"{}\", pid {pid}{}",
            clean(to),
            proto.word(),
            clean(program),
            often(*times)
        ),
        EventKind::RefusedCall { call, program, pid, times } => format!(
            "the system call {} was refused to its \"{}\", pid {pid}{}",
            clean(call),
            clean(program),
            often(*times)
        ),
        EventKind::Leak(leak) => format!("memory: {}", leak::sentence(leak)),
        EventKind::Note { text } => clean(text).into_owned(),
        EventKind::Warning { text } => format!("warning: {}", clean(text)),
    };
    format!("{of}{what}")
}

fn often(times: u64) -> String {
    if times > 1 { format!(", {times} times") } else { String::new() }
}
