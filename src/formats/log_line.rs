//! One line of `out.log` and `err.log`: `2026-11-23T01:02:03.123Z INSTANCE TEXT`. The time is RFC 3339,
//! UTC, milliseconds; the text is the app's own bytes. `INSTANCE+` marks a piece of an over-long line
//! that goes on in the next, `INSTANCE-` a last line that the app's death cut short. Instance 0 is swrun itself.

/// The longest text of one line, in bytes; the monitor cuts a longer one into pieces.
pub const LONGEST_TEXT: usize = 16 << 10;

/// The instance of lines that are swrun's own: those of apps count from 1.
pub const OWN: u32 = 0;

/// The longest line with its time, instance and newline, in bytes.
pub const LONGEST_LINE: usize = LONGEST_TEXT + 64;

/// How a line of the file stands to a line of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A whole line, or the last piece of one that was cut.
    Whole,
    /// The line goes on in the next line of this instance (`+`).
    GoesOn,
    /// The app died before it ended the line (`-`).
    CutShort,
}

/// A line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub at_millis: u64,
    /// Of which instance.
    pub instance: u32,
    /// Whole, or a piece.
    pub piece: Piece,
    /// What the app wrote, without the newline. Hostile: see [`super::clean`].
    pub text: &'a [u8],
}

const DAY_MILLIS: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z, the last time that has four digits of a year.
const LAST_MILLIS: u64 = 253_402_300_799_999;
/// The length of `2026-11-23T01:02:03.123Z`.
const TIME_LENGTH: usize = 24;

/// What stands before the text of lines of one time and instance.
#[derive(Debug, Clone)]
pub struct Stamp(Vec<u8>);

impl Stamp {
    /// `at_millis` since 1970.
    #[must_use]
    pub fn new(at_millis: u64, instance: u32) -> Self {
        let mut stamp = time_text(at_millis).to_vec();
        stamp.extend_from_slice(format!(" {instance}").as_bytes());
        Self(stamp)
    }

    /// Appends one line. `text` holds no newline: the caller splits at them.
    pub fn write(&self, buffer: &mut Vec<u8>, piece: Piece, text: &[u8]) {
        debug_assert!(!text.contains(&b'\n'), "a newline in a line would forge the next one");
        buffer.reserve(self.0.len() + 3 + text.len());
        buffer.extend_from_slice(&self.0);
        let mark: &[u8] = match piece {
            Piece::Whole => b" ",
            Piece::GoesOn => b"+ ",
            Piece::CutShort => b"- ",
        };
        buffer.extend_from_slice(mark);
        buffer.extend_from_slice(text);
        buffer.push(b'\n');
    }
}

/// Appends one line; as [`Stamp::write`].
pub fn write_line(buffer: &mut Vec<u8>, at_millis: u64, instance: u32, piece: Piece, text: &[u8]) {
    Stamp::new(at_millis, instance).write(buffer, piece, text);
}

/// Reads one line, with or without its newline; `None` for anything that [`write_line`] did not write.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<LogLine<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (time, rest) = line.split_at_checked(TIME_LENGTH)?;
    let at_millis = parse_time(time)?;
    let rest = rest.strip_prefix(b" ")?;
    let end = rest.iter().take(12).position(|byte| *byte == b' ')?;
    let (mark, text) = (&rest[..end], &rest[end + 1..]);
    let (digits, piece) = match mark.last()? {
        b'+' => (&mark[..end - 1], Piece::GoesOn),
        b'-' => (&mark[..end - 1], Piece::CutShort),
        _ => (mark, Piece::Whole),
    };
    let is_canonical = digits == b"0" || digits.first().is_some_and(|digit| *digit != b'0');
    if !is_canonical || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let instance = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(LogLine { at_millis, instance, piece, text })
}

/// `2026-11-23T01:02:03.123Z`; times beyond the year 9999 become its last millisecond.
#[must_use]
pub fn time_text(millis: u64) -> [u8; TIME_LENGTH] {
    let millis = millis.min(LAST_MILLIS);
    let (year, month, day) = civil_from_days(millis / DAY_MILLIS);
    let rest = millis % DAY_MILLIS;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |start: usize, end: usize, mut value: u64| {
        for digit in text[start..end].iter_mut().rev() {
            *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 7, month);
    put(8, 10, day);
    put(11, 13, rest / 3_600_000);
    put(14, 16, rest / 60_000 % 60);
    put(17, 19, rest / 1_000 % 60);
    put(20, 23, rest % 1_000);
    text
}

/// Reads what [`time_text`] writes.
#[must_use]
pub fn parse_time(text: &[u8]) -> Option<u64> {
    let shape = b"dddd-dd-ddTdd:dd:dd.dddZ";
    let fits = text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => byte == wanted,
        });
    if !fits {
        return None;
    }
    let number = |start: usize, end: usize| {
        text[start..end].iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    // Turned back, a 31st of June would be a 1st of July.
    (civil_from_days(days) == (year, month, day)).then(|| {
        days * DAY_MILLIS + hour * 3_600_000 + minute * 60_000 + second * 1_000 + number(20, 23)
    })
}

/// The date of a day counted from 1970-01-01: Howard Hinnant's `civil_from_days`, for days from 1970 on.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The other way round, for years from 1970 on.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jiff_text(millis: u64) -> String {
        let millis = i64::try_from(millis).expect("in range");
        let at = jiff::Timestamp::from_millisecond(millis).expect("in range");
        format!("{at:.3}")
    }

    #[test]
    fn a_line_is_as_promised() {
        let mut buffer = Vec::new();
        write_line(&mut buffer, 1_795_395_723_123, 7, Piece::Whole, b"hello \xff");
        write_line(&mut buffer, 0, 0, Piece::GoesOn, b"");
        write_line(&mut buffer, u64::MAX, u32::MAX, Piece::CutShort, b"x");
        assert_eq!(
            buffer.escape_ascii().to_string(),
            "2026-11-23T01:02:03.123Z 7 hello \\xff\\n\
             1970-01-01T00:00:00.000Z 0+ \\n\
             9999-12-31T23:59:59.999Z 4294967295- x\\n"
        );
    }

    #[test]
    fn every_day_has_its_date() {
        // All days up to 2199, leap years of both kinds among them.
        for day in 0..84_000 {
            let millis = day * DAY_MILLIS + 86_399_999;
            assert_eq!(std::str::from_utf8(&time_text(millis)), Ok(jiff_text(millis).as_str()));
        }
    }

    #[test]
    fn what_was_not_written_so_is_not_read() {
        for bad in [
            "",
            "hello",
            "2026-11-23T01:02:03.123Z",
            "2026-11-23T01:02:03.123Z 1",
            "2026-11-23T01:02:03.123Z  text",
            "2026-11-23T01:02:03.123Z x text",
            "2026-11-23T01:02:03.123Z + text",
            "2026-11-23T01:02:03.123Z 01 text",
            "2026-11-23T01:02:03.123Z 4294967296 text",
            "2026-11-23T01:02:03.123Z 1++ text",
            "2026-11-23 01:02:03.123Z 1 text",
            "2026-02-29T01:02:03.123Z 1 text",
            "2026-13-01T01:02:03.123Z 1 text",
            "2026-00-01T01:02:03.123Z 1 text",
            "2026-01-00T01:02:03.123Z 1 text",
            "2026-01-01T24:02:03.123Z 1 text",
            "1969-12-31T23:59:59.999Z 1 text",
        ] {
            assert_eq!(parse_line(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_line_comes_back(
            at_millis in 0..=LAST_MILLIS,
            instance: u32,
            piece in prop_oneof![Just(Piece::Whole), Just(Piece::GoesOn), Just(Piece::CutShort)],
            text: Vec<u8>,
        ) {
            let text: Vec<u8> = text.into_iter().filter(|byte| *byte != b'\n').collect();
            let mut buffer = Vec::new();
            write_line(&mut buffer, at_millis, instance, piece, &text);
            prop_assert_eq!(
                parse_line(&buffer),
                Some(LogLine { at_millis, instance, piece, text: &text })
            );
            prop_assert_eq!(buffer.iter().filter(|byte| **byte == b'\n').count(), 1);
            let by_jiff = jiff_text(at_millis);
            prop_assert_eq!(&buffer[..TIME_LENGTH], by_jiff.as_bytes());
        }

        #[test]
        fn a_damaged_line_is_refused_or_means_what_it_says(place in 0..32_usize, byte: u8) {
            let mut line = b"2026-11-23T01:02:03.123Z 12+ abc".to_vec();
            line[place] = if byte == b'\n' { b' ' } else { byte };
            if let Some(read) = parse_line(&line) {
                let mut buffer = Vec::new();
                write_line(&mut buffer, read.at_millis, read.instance, read.piece, read.text);
                prop_assert_eq!(buffer.strip_suffix(b"\n"), Some(line.as_slice()));
            }
        }
    }
}
