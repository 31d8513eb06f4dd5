//! How a line of a log is shown.

use serde::Serialize;

use crate::cli::show::table::Style;
use crate::formats::clean::{clean_into, clean_json, clean_keeping_colours};
use crate::formats::log_file::Entry;
use crate::formats::log_line::time_text;

/// Which of the two outputs of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// `out.log`.
    Out,
    /// `err.log`.
    Err,
}

impl Stream {
    /// The word of `--out` and `--err`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// The look of all lines of one call.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// One JSON object a line.
    pub json: bool,
    /// The environment's name is shown, in so many characters.
    pub name_width: Option<usize>,
    /// The stream is shown.
    pub stream: bool,
    /// The app's bytes and nothing else.
    pub raw: bool,
    /// The app's own colours are let through.
    pub colours_of_app: bool,
    /// In colour.
    pub colour: bool,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    at: Option<&'a str>,
    environment: &'a str,
    stream: Stream,
    instance: Option<u32>,
    text: &'a str,
}

impl Look {
    /// The line with its newline. `index` numbers the environments, for their colours.
    #[must_use]
    pub fn line(&self, entry: &Entry, name: &str, index: usize, stream: Stream) -> Vec<u8> {
        if self.raw {
            // What swrun says there itself is not the app's.
            if entry.is_own() {
                return Vec::new();
            }
            let end: &[u8] = if entry.has_end() { b"\n" } else { b"" };
            return [&entry.text, end].concat();
        }
        let time = entry.at_millis.map(time_text);
        let time = time.as_ref().and_then(|time| std::str::from_utf8(time).ok());
        if self.json {
            let text = String::from_utf8_lossy(&entry.text);
            let (environment, text) = (name, text.as_ref());
            let line = JsonLine { at: time, environment, stream, instance: entry.instance, text };
            // Text and numbers are always JSON.
            let json = serde_json::to_string(&line).unwrap_or_default();
            return format!("{}\n", clean_json(&json)).into_bytes();
        }
        let mut line = Style::Dim.paint(time.unwrap_or("?"), self.colour);
        line.push(' ');
        if let Some(width) = self.name_width {
            const COLOURS: [u8; 6] = [36, 35, 34, 33, 32, 96];
            let code = COLOURS[index % COLOURS.len()];
            match self.colour {
                true => line.push_str(&format!("\x1b[{code}m{name:<width$}\x1b[0m ")),
                false => line.push_str(&format!("{name:<width$} ")),
            }
        }
        if self.stream {
            let style = if stream == Stream::Err { Style::Bad } else { Style::Dim };
            line.push_str(&style.paint(stream.word(), self.colour));
            line.push(' ');
        }
        let text = entry.text.strip_suffix(b"\r").unwrap_or(&entry.text);
        match self.colours_of_app {
            true => clean_keeping_colours(text, &mut line),
            false => clean_into(text, &mut line),
        }
        line.push('\n');
        line.into_bytes()
    }
}
