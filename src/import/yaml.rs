//! YAML as a value. The parser's own loader follows aliases by copying, which a few lines make endless: here the copies
//! are counted.

use std::collections::HashMap;

use serde_json::{Map, Value};
use yaml_rust2::Yaml;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

/// The deepest that lists and objects may lie in one another.
const DEEPEST: usize = 64;

/// The most values of a text, those that aliases repeat among them.
const MOST: usize = 100_000;

/// The most bytes of texts, those that aliases repeat among them.
const MOST_BYTES: usize = 32 << 20;

/// The first document of `text`.
///
/// # Errors
/// Where it cannot be read, or that it is too deep or too large.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser::new(text.chars());
    let mut builder = Builder::default();
    loop {
        let (event, mark) = parser.next_token().map_err(|error| error.to_string())?;
        let is_end = matches!(event, Event::DocumentEnd | Event::StreamEnd);
        builder.take(event).map_err(|why| format!("line {}: {why}", mark.line()))?;
        if is_end {
            return Ok(builder.done.unwrap_or(Value::Null));
        }
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<(usize, Open)>,
    /// By the number of its anchor.
    anchors: HashMap<usize, Value>,
    values: usize,
    bytes: usize,
    done: Option<Value>,
}

enum Open {
    List(Vec<Value>),
    /// With the key that waits for its value.
    Object(Map<String, Value>, Option<String>),
}

impl Builder {
    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::SequenceStart(anchor, _) => self.begin(anchor, Open::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(anchor, Open::Object(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some((anchor, Open::List(list))) => self.add(anchor, Value::Array(list)),
                Some((anchor, Open::Object(object, _))) => self.add(anchor, Value::Object(object)),
                None => Ok(()),
            },
            Event::Scalar(text, style, anchor, _) => {
                let value = match style {
                    TScalarStyle::Plain => plain(&text),
                    _ => Value::String(text),
                };
                self.add(anchor, value)
            }
            Event::Alias(anchor) => {
                // Counted before they are copied.
                let (values, bytes) = size(self.anchors.get(&anchor).ok_or("an alias of nothing")?);
                self.count(values, bytes)?;
                let value = self.anchors.get(&anchor).cloned().unwrap_or_default();
                self.add(0, value)
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, values: usize, bytes: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(values);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.values > MOST {
            return Err(format!("it has more than {MOST} values, with those that aliases repeat"));
        }
        if self.bytes > MOST_BYTES {
            return Err("it has more than 32 MiB, with what aliases repeat".to_owned());
        }
        Ok(())
    }

    fn begin(&mut self, anchor: usize, open: Open) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err(format!("lists and objects lie more than {DEEPEST} deep in one another"));
        }
        self.open.push((anchor, open));
        Ok(())
    }

    fn add(&mut self, anchor: usize, value: Value) -> Result<(), String> {
        self.count(1, value.as_str().map_or(0, str::len))?;
        if anchor > 0 {
            let (values, bytes) = size(&value);
            self.count(values, bytes)?;
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some((_, Open::List(list))) => list.push(value),
            Some((_, Open::Object(object, key))) => match key.take() {
                None => *key = Some(super::take::scalar(&value).ok_or("a key is no text")?),
                // The key that merges: what is given itself wins.
                Some(name) if name == "<<" => {
                    let merged = match value {
                        Value::Array(list) => list,
                        one => vec![one],
                    };
                    for (name, value) in merged.iter().filter_map(Value::as_object).flatten() {
                        object.entry(name.clone()).or_insert_with(|| value.clone());
                    }
                }
                Some(name) => drop(object.insert(name, value)),
            },
        }
        Ok(())
    }
}

fn plain(text: &str) -> Value {
    match Yaml::from_str(text) {
        Yaml::Null => Value::Null,
        Yaml::Boolean(is) => is.into(),
        Yaml::Integer(number) => number.into(),
        Yaml::Real(text) => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or(Value::String(text), Value::Number),
        _ => Value::String(text.to_owned()),
    }
}

/// How many values are in one, and how many bytes of texts and keys.
fn size(value: &Value) -> (usize, usize) {
    let sum = |all: (usize, usize), one: (usize, usize)| (all.0 + one.0, all.1 + one.1);
    match value {
        Value::Array(list) => list.iter().map(size).fold((1, 0), sum),
        Value::Object(object) => {
            object.iter().map(|(key, value)| sum((0, key.len()), size(value))).fold((1, 0), sum)
        }
        Value::String(text) => (1, text.len()),
        _ => (1, 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_pm2_reads_is_read() {
        let text = "
base: &base
  NODE_ENV: production
  PORT: 3000
apps:
  - script: ./index.js
    name: 'backend'   # a comment
    instances: 2
    wait_ready: true
    args: [\"--a\", b]
    env:
      <<: *base
      PORT: 3001
      RATIO: 0.5
      EMPTY:
";
        let value = parse(text).expect("it is YAML");
        assert_eq!(
            value["apps"],
            json!([{"script": "./index.js", "name": "backend", "instances": 2, "wait_ready": true,
                    "args": ["--a", "b"],
                    "env": {"NODE_ENV": "production", "PORT": 3001, "RATIO": 0.5, "EMPTY": null}}])
        );
    }

    #[test]
    fn a_text_that_grows_without_end_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let of = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![of; 10].join(", "));
        }
        assert!(parse(&text).expect_err("too large").contains("more than 100000 values"));
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(1_000)).expect_err("too deep").contains("deep"));
        // Few values, and long ones.
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 40].join(", "));
        assert!(parse(&long).expect_err("too long").contains("32 MiB"));
        assert!(parse("a: [b").is_err());
        assert!(parse("a: *nothing").is_err());
    }
}
