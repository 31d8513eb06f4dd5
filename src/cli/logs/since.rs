//! `--since T`: a while ago, or a time (UTC, as the logs are).

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::model::parse_duration;

/// The time that `text` means, in milliseconds since 1970.
///
/// # Errors
/// What can be written, in words for the operator.
pub fn since(text: &str, now: Timestamp) -> Result<u64, String> {
    let shape = || {
        format!(
            "\"{}\" is not a time: write \"10m\" or \"2h\" (ago), \"2026-11-23\", \
             \"2026-11-23 01:02\" or \"2026-11-23T01:02:03Z\" (UTC)",
            text.escape_debug()
        )
    };
    let at = if let Ok(ago) = parse_duration(text.strip_suffix(" ago").unwrap_or(text)) {
        now.checked_sub(ago).map_err(|_| shape())?
    } else if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else {
        let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from));
        civil.and_then(|civil| TimeZone::UTC.to_timestamp(civil)).map_err(|_| shape())?
    };
    Ok(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_whiles_are_read() {
        let now: Timestamp = "2026-11-23T01:10:00Z".parse().expect("a time");
        let at = |text: &str| {
            since(text, now).map(|millis| {
                Timestamp::from_millisecond(i64::try_from(millis).expect("in range"))
                    .expect("in range")
                    .to_string()
            })
        };
        assert_eq!(at("10m"), Ok("2026-11-23T01:00:00Z".into()));
        assert_eq!(at("1h30m ago"), Ok("2026-11-22T23:40:00Z".into()));
        assert_eq!(at("2026-11-23"), Ok("2026-11-23T00:00:00Z".into()));
        assert_eq!(at("2026-11-23 01:02"), Ok("2026-11-23T01:02:00Z".into()));
        assert_eq!(at("2026-11-23T01:02:03.5+01:00"), Ok("2026-11-23T00:02:03.5Z".into()));
        for bad in ["yesterday", "10", "", "2026-13-01", "-5m"] {
            let error = at(bad).expect_err(bad);
            assert!(error.contains("\"10m\""), "{error}");
        }
    }
}
