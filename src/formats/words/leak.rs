//! The verdict on an environment's memory in a sentence.

use std::time::Duration;

use crate::model::{LeakDoubt, LeakStatus, LeakVerdict, format_bytes, format_duration};

/// What was seen, what speaks for and against a leak, and when the ceiling is met.
#[must_use]
pub fn sentence(leak: &LeakStatus) -> String {
    let growth = match leak.bytes_per_hour {
        Some(bytes) if bytes > 0 => format!("{} an hour", format_bytes(bytes.unsigned_abs())),
        _ => "?".to_owned(),
    };
    let seen = leak.seen_s.map_or_else(|| "?".to_owned(), |s| time(s / 60 * 60));
    let mut text = match (leak.verdict, leak.doubt) {
        (LeakVerdict::Unknown, _) => {
            return "not known yet: it is judged an hour after its start".to_owned();
        }
        (LeakVerdict::None, _) => {
            return format!("its anonymous memory does not grow, over the last {seen}");
        }
        (LeakVerdict::Leaking, _) if leak.lives.is_some() => {
            format!(
                "it leaks: each of its last {} lives climbed alike, by {growth}",
                leak.lives.unwrap_or(0)
            )
        }
        (LeakVerdict::Suspected, _) if leak.lives.is_some() => {
            format!(
                "{} lives climbed alike, by {growth}: a third makes it a leak",
                leak.lives.unwrap_or(0)
            )
        }
        (LeakVerdict::Leaking, _) => format!(
            "it leaks: its anonymous memory grew by {growth} over the last {seen}, in each part of that, and neither warm-up nor load explains it"
        ),
        (LeakVerdict::Suspected, _) => format!(
            "it grows by {growth} since {seen}, and is too young to tell a leak from a warm-up (six hours do)"
        ),
        (LeakVerdict::Watching, doubt) => {
            let because = match doubt {
                Some(LeakDoubt::Levels) => "but it slows down: caches that fill",
                Some(LeakDoubt::Steps) => "but in steps, and not in between",
                Some(LeakDoubt::Falls) => "but it was as high before, or gave much of it back",
                Some(LeakDoubt::Wave) => {
                    "but its load comes and goes, which explains it until two whole days are compared"
                }
                Some(LeakDoubt::Young) | None => "but it is young",
            };
            format!("it grew by {growth} over the last {seen}, {because}")
        }
    };
    if let Some(seconds) = leak.ceiling_in_s
        && leak.verdict >= LeakVerdict::Suspected
    {
        text.push_str(&format!("; it meets its ceiling in {}", time(seconds)));
    }
    text
}

fn time(seconds: u64) -> String {
    format_duration(Duration::from_secs(seconds.max(60) / 60 * 60))
}
