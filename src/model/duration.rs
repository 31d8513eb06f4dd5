//! Durations as operators write and read them: `100ms`, `10s`, `1m`, `3d 4h`.

use std::time::Duration;

/// Reads a duration with its unit: one or more of `250ms`, `10s`, `5m`, `2h`, `1d`, largest first.
///
/// # Errors
/// What is wrong with the text, in words for the operator.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let shape =
        || format!("\"{text}\" is not a duration: write \"100ms\", \"10s\", \"1m\" or \"1h30m\"");
    let mut rest = text;
    let mut total = 0_u64;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| shape())?;
        let letters = rest[digits..].trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = &rest[digits..rest.len() - letters];
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(format!("\"{text}\" has no unit: write \"{text}s\" for seconds")),
            _ => return Err(shape()),
        };
        if millis >= last_unit {
            return Err(shape());
        }
        last_unit = millis;
        total = number
            .checked_mul(millis)
            .and_then(|part| total.checked_add(part))
            .filter(|sum| *sum <= 366 * 86_400_000)
            .ok_or_else(|| format!("\"{text}\" is longer than a year"))?;
        rest = &rest[rest.len() - letters..];
    }
    if last_unit == u64::MAX { Err(shape()) } else { Ok(Duration::from_millis(total)) }
}

/// A duration for people, in its two largest units: `3d 4h`, `12s`, `250ms`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{}ms", duration.as_millis());
    }
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let shown: Vec<_> = parts
        .iter()
        .skip(first)
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, u)| format!("{n}{u}"))
        .collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for bad in
            ["", "10", "s", "1x", "-5s", "1s1m", "1s 1s", "1.5s", "400d", "99999999999999999999s"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        let shown = [0, 999, 12_000, 61_000, 3_600_000, 273_600_000]
            .map(|ms| format_duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["0ms", "999ms", "12s", "1m 1s", "1h", "3d 4h"]);
    }
}
