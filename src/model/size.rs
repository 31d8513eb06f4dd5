//! Sizes as operators write them: `512M`, K, M and G being powers of 1024 as in systemd and PM2.

/// Reads a size with its unit (`512M`, `1.5G`, `64K`, `1T`); a bare number has no unit and is refused.
///
/// # Errors
/// What is wrong with the text, in words for the operator.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let factor: u64 = match unit.to_ascii_uppercase().as_str() {
        "K" | "KIB" => 1 << 10,
        "M" | "MIB" => 1 << 20,
        "G" | "GIB" => 1 << 30,
        "T" | "TIB" => 1 << 40,
        "" => return Err(format!("\"{text}\" has no unit: write \"{text}M\" for mebibytes")),
        _ => return Err(format!("\"{text}\" has an unknown unit: K, M, G or T (powers of 1024)")),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 6 {
        return Err(format!("\"{text}\" is not a size: a number and a unit, as in \"512M\""));
    }
    let too_large = || format!("\"{text}\" is larger than any machine");
    let scale = 10_u64.pow(u32::try_from(part.len()).unwrap_or(6));
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let part: u64 = part.parse().map_err(|_| too_large())?;
    let fraction = u128::from(part) * u128::from(factor) / u128::from(scale);
    whole
        .checked_mul(factor)
        .and_then(|bytes| bytes.checked_add(u64::try_from(fraction).ok()?))
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(too_large)
}

/// A size for people: `92M`, `1.5G`, `512K`, `0`.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [(u64, char); 4] =
        [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    for (factor, unit) in UNITS {
        if bytes >= factor {
            let tenths = (u128::from(bytes) * 10 + u128::from(factor) / 2) / u128::from(factor);
            // One decimal below ten, and only where it says something.
            return match (tenths / 10, tenths % 10) {
                (whole @ ..10, tenth @ 1..) => format!("{whole}.{tenth}{unit}"),
                (whole, _) => format!("{whole}{unit}"),
            };
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        assert_eq!(parse_bytes("512M"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5G"), Ok(3 << 29));
        assert_eq!(parse_bytes("64k"), Ok(64 << 10));
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
    }

    #[test]
    fn a_size_without_unit_or_sense_is_refused() {
        for bad in ["512", "", "M", "1.M", ".5M", "-1M", "1 M", "1e3M", "512X", "99999999999T"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_read_short_sizes() {
        let shown: Vec<_> =
            [0, 1023, 1024, 1536, 92 << 20, 512 << 20, 3 << 29].map(format_bytes).into();
        assert_eq!(shown, ["0", "1023", "1K", "1.5K", "92M", "512M", "1.5G"]);
    }
}
