//! Times of a crontab line (crontab(5)), in the host's time zone unless the line names one.

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};

/// Whether `text` is such a line, with five fields.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<(), String> {
    let line = parse(text)?;
    // From any time on: a 30th of February is none.
    let begin = MakeTimestamp::from_millisecond(0).map_err(|error| error.to_string())?;
    line.find_next(begin).map(drop).map_err(|_| "it never comes".to_owned())
}

/// The first time after `after`, both in milliseconds since 1970; `None` where there is none.
#[must_use]
pub fn next(text: &str, after: u64) -> Option<u64> {
    let after = MakeTimestamp::from_millisecond(i64::try_from(after).ok()?).ok()?;
    let next = parse(text).ok()?.find_next(after).ok()?;
    u64::try_from(next.timestamp().as_millisecond()).ok()
}

fn parse(text: &str) -> Result<Crontab, String> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::System;
    cronexpr::parse_crontab_with(text, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> u64 {
        let time: jiff::Timestamp = text.parse().expect("a time");
        u64::try_from(time.as_millisecond()).expect("after 1970")
    }

    #[test]
    fn the_next_time_is_that_of_the_line() {
        for (line, after, next_is) in [
            ("0 3 * * * UTC", "2026-11-26T02:59:59.999Z", "2026-11-26T03:00:00Z"),
            ("0 3 * * * UTC", "2026-11-26T03:00:00Z", "2026-11-27T03:00:00Z"),
            ("*/15 * * * * UTC", "2026-11-26T10:01:00Z", "2026-11-26T10:15:00Z"),
            ("30 4 * * 1 UTC", "2026-11-26T10:01:00Z", "2026-11-30T04:30:00Z"),
            // Over the end of summer time, by the clock on the wall.
            ("0 3 * * * Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T02:00:00Z"),
        ] {
            assert_eq!(next(line, millis(after)), Some(millis(next_is)), "{line} after {after}");
        }
        assert!(next("0 3 * * *", millis("2026-11-26T02:59:00Z")).is_some(), "in the host's zone");
    }

    #[test]
    fn what_is_no_such_line_is_refused() {
        for wrong in [
            "",
            "0 3 * *",
            "61 * * * *",
            "0 3 * * * Nowhere/Else",
            "@never",
            "0 0 30 2 *",
            "a b c d e",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(check("0 3 * * *").is_ok());
    }
}
