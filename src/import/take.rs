//! Values as PM2 takes them: numbers in texts, lists in one text, sizes and times with a letter.

use std::time::Duration;

use serde_json::Value;

/// A text that is not empty.
pub fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A text, or a number as one.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// True or false, also as a text.
pub fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(is) => Some(*is),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A number, also as a text.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// A whole number from 0.
pub fn count(value: &Value) -> Option<u64> {
    number(value).filter(|number| *number >= 0.0 && *number < 1e15).map(|number| number as u64)
}

/// Bytes: a number, or one with K, M or G.
pub fn bytes(value: &Value) -> Option<u64> {
    with_unit(value, &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)])
}

/// A time: milliseconds, or a number with s, m or h.
pub fn time(value: &Value) -> Option<Duration> {
    with_unit(value, &[("s", 1_000), ("m", 60_000), ("h", 3_600_000)]).map(Duration::from_millis)
}

fn with_unit(value: &Value, units: &[(&str, u64)]) -> Option<u64> {
    if let Some(plain) = count(value) {
        return Some(plain);
    }
    let text = value.as_str()?.trim();
    let (digits, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number: f64 = digits.parse().ok()?;
    (number.is_finite() && (0.0..1e9).contains(&number)).then_some((number * factor as f64) as u64)
}

/// A list of texts, or one text with several: split at blanks, quotes keep a word together.
pub fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(scalar).collect(),
        Value::String(text) => Some(split(text)),
        _ => None,
    }
}

/// As PM2 splits (`Config._valid` in its `lib/tools/Config.js`, with its very expression): at blanks; quotes round a word
/// are taken off, those within it (`--a="b c"`) keep it together.
const WORDS: &str = r#"[^\s"'=]+="[^"]*"|[^\s"'=]+='[^']*'|"([^"]*)"|'([^']*)'|\S+"#;

fn split(text: &str) -> Vec<String> {
    let Ok(words) = regex_lite::Regex::new(WORDS) else { return Vec::new() };
    let bare = |word: &str| {
        let quote = word.chars().next().filter(|first| matches!(first, '"' | '\''));
        let is_quoted = quote.is_some_and(|quote| word.ends_with(quote));
        let inner = if is_quoted { word.get(1..word.len() - 1) } else { Some(word) };
        inner.unwrap_or_default().to_owned()
    };
    let words = words.find_iter(text).map(|found| bare(found.as_str()));
    words.filter(|word| !word.trim().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_text_is_several_words_as_pm2_has_it() {
        for (text, is) in [
            ("--port 3000", vec!["--port", "3000"]),
            ("  a   b ", vec!["a", "b"]),
            ("\"two words\" 'and three more'", vec!["two words", "and three more"]),
            ("--name=\"two words\" x", vec!["--name=\"two words\"", "x"]),
            ("it's fine", vec!["it's", "fine"]),
            ("\"\" x", vec!["x"]),
            ("", vec![]),
        ] {
            assert_eq!(split(text), is, "{text}");
        }
        assert_eq!(
            words(&json!(["a b", 3, true])),
            Some(vec!["a b".into(), "3".into(), "true".into()])
        );
        assert_eq!(words(&json!([["a"]])), None);
    }

    #[test]
    fn sizes_and_times_have_letters() {
        assert_eq!(bytes(&json!("200M")), Some(200 << 20));
        assert_eq!(bytes(&json!("1.5G")), Some(3 << 29));
        assert_eq!(bytes(&json!(1024)), Some(1024));
        assert_eq!(bytes(&json!("4096")), Some(4096));
        assert_eq!(time(&json!("1h")), Some(Duration::from_secs(3600)));
        assert_eq!(time(&json!("1500")), Some(Duration::from_millis(1500)));
        for wrong in [
            json!("x"),
            json!("M"),
            json!("-1M"),
            json!(-1),
            json!("infM"),
            json!([]),
            json!("1e300G"),
        ] {
            assert_eq!(bytes(&wrong), None, "{wrong}");
        }
    }
}
