//! `swrun show ENV`: all that is known of one environment, and the ends of its logs.

use std::path::Path;

use jiff::Timestamp;

use crate::cli::args::Show;
use crate::cli::client::{self, PATIENCE};
use crate::cli::exit::{Ended, Exit};
use crate::cli::output::Output;
use crate::cli::show::environment::{lines, security};
use crate::cli::show::table::Style;
use crate::formats::clean::clean_into;
use crate::formats::log_back::{Verdict, last_entries};
use crate::formats::log_line::time_text;
use crate::model::Places;
use crate::wire::ask::{Answer, Ask};

/// How many lines of each log are shown.
const LINES: usize = 5;

/// Shows one environment.
pub fn run(places: &Places, show: &Show, output: &mut Output) -> Ended {
    let ask = Ask::Show { target: show.environment.clone() };
    let Answer::Show(document) = client::ask(places, &ask, PATIENCE, |_, _| ())? else {
        return Err(client::unexpected());
    };
    if show.json {
        output.json(&document)?;
        return Ok(Exit::Done);
    }
    if show.security {
        for line in security(&document, output.colour) {
            output.line(&line)?;
        }
        return Ok(Exit::Done);
    }
    for line in lines(&document, Timestamp::now(), output.colour) {
        output.line(&line)?;
    }
    for name in ["out.log", "err.log"] {
        let path = document.logs.join(name);
        output.line("")?;
        output.line(&Style::Bold.paint(&path.display().to_string(), output.colour))?;
        for line in last_lines(&path) {
            output.line(&format!("  {line}"))?;
        }
    }
    Ok(Exit::Done)
}

/// The last lines of a log, safe to show; why there are none, where it cannot be read.
fn last_lines(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<String>> {
        let mut lines = Vec::new();
        for entry in last_entries(path, LINES, |_| Verdict::Counts)? {
            let time = entry.at_millis.map(time_text);
            let mut line = String::new();
            clean_into(time.as_ref().map_or(b"?", |time| time.as_slice()), &mut line);
            line.push(' ');
            clean_into(entry.text.strip_suffix(b"\r").unwrap_or(&entry.text), &mut line);
            lines.push(line);
        }
        Ok(lines)
    };
    match read() {
        Ok(lines) if lines.is_empty() => vec!["empty".into()],
        Ok(lines) => lines,
        Err(error) => vec![format!("cannot be read: {error}")],
    }
}
