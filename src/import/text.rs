//! The texts: JSON as PM2 and people write it (JSON5), and YAML.

use std::path::Path;

use serde_json::Value;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, with comments, trailing commas and bare keys.
    Json,
    /// YAML.
    Yaml,
    /// A program: it is run to know what it says.
    JavaScript,
}

impl Format {
    /// By the name of the file; PM2's list, `dump.pm2`, is JSON.
    #[must_use]
    pub fn of(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_str()?;
        match name.rsplit_once('.').map(|(_, extension)| extension)? {
            "json" | "json5" | "pm2" | "bak" => Some(Self::Json),
            "yml" | "yaml" => Some(Self::Yaml),
            "js" | "cjs" | "mjs" => Some(Self::JavaScript),
            _ => None,
        }
    }
}

/// What a text says.
///
/// # Errors
/// Where and why it cannot be read. PM2 evaluates a `.json` as a program: one with expressions in it is none.
pub fn parse(format: Format, text: &str) -> Result<Value, String> {
    match format {
        Format::Json => {
            is_flat_enough(text)?;
            json5::from_str(text).map_err(|error| error.to_string())
        }
        Format::Yaml => super::yaml::parse(text),
        Format::JavaScript => serde_json::from_str(text).map_err(|error| error.to_string()),
    }
}

/// The deepest that lists and objects may lie in one another: the reader of JSON5 goes down as deep as its text does,
/// whatever its stack has.
const DEEPEST: usize = 256;

fn is_flat_enough(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            // What is in a text or a comment is no bracket.
            b'"' | b'\'' => {
                while let Some(inner) = bytes.next().filter(|inner| *inner != byte) {
                    if inner == b'\\' {
                        bytes.next();
                    }
                }
            }
            b'/' if bytes.peek() == Some(&b'/') => {
                while bytes.next().is_some_and(|inner| inner != b'\n' && inner != b'\r') {}
            }
            b'/' if bytes.peek() == Some(&b'*') => {
                bytes.next();
                let mut last = 0;
                for inner in bytes.by_ref() {
                    if (last, inner) == (b'*', b'/') {
                        break;
                    }
                    last = inner;
                }
            }
            _ => {}
        }
        if depth > DEEPEST {
            return Err(format!("lists and objects lie more than {DEEPEST} deep in one another"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_where_they_are_brackets() {
        for deep in [
            "[".repeat(257),
            "[\"]\",".repeat(60_000),
            "[']',".repeat(300),
            "[/*]*/".repeat(300),
            "[//]\n".repeat(300),
        ] {
            let refused = parse(Format::Json, &deep);
            assert!(refused.is_err_and(|why| why.contains("deep")), "{}", &deep[..20]);
        }
        let (square, curly) = ("[".repeat(300), "{".repeat(300));
        let flat = format!("[\"{square}\", '\\'{curly}', 1 /* {square} */]");
        assert!(parse(Format::Json, &flat).is_ok());
    }
}
