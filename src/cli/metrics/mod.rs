//! `swrun metrics`: what is known of environments, for Prometheus. A process of its own that needs no root: it asks
//! the runner as everybody does, and the runner itself speaks no HTTP.

mod serve;
mod text;

use std::path::Path;
use std::time::Duration;

use super::args::Metrics;
use super::commands::{ports, status};
use super::exit::{Ended, Exit, Failure};
use super::http::loopback;
use super::output::{Output, say};
use crate::model::{Places, parse_duration};
use crate::sys::files;

/// Prints, serves or writes them.
pub fn run(places: &Places, metrics: &Metrics, output: &mut Output) -> Ended {
    if let Some(address) = &metrics.listen {
        return serve::on_port(places, loopback(address, 9477)?);
    }
    if let Some(path) = &metrics.socket {
        return serve::on_socket(places, path);
    }
    let Some(path) = &metrics.textfile else {
        output.write(&known(places)?)?;
        return Ok(Exit::Done);
    };
    let every = metrics.every.as_deref().map(parse_duration).transpose();
    let every = every.map_err(|error| Failure::usage(format!("--every: {error}")))?;
    loop {
        // One that is away for a moment (an upgrade) is told as such, not the last known.
        write(path, &known_or_down(places))?;
        let Some(pause) = every else { return Ok(Exit::Done) };
        std::thread::sleep(pause.max(Duration::from_secs(1)));
    }
}

/// The text, where the runner answers.
fn known(places: &Places) -> Result<String, Failure> {
    let status = status::document(places, &[])?;
    let ports = ports::document(places, &[])?;
    text::text(Some((&status, &ports)))
        .map_err(|error| Failure::failed(format!("could not make the text: {error}")))
}

/// The text; that the runner does not answer is a part of it.
fn known_or_down(places: &Places) -> String {
    known(places).unwrap_or_else(|failure| {
        if let Failure::Because(_, text) = failure {
            say(&format!("swrun: {text}"));
        }
        text::text(None).unwrap_or_default()
    })
}

/// For the textfile collector of node_exporter, which reads the older form: there a counter is named with its
/// `_total`, and other comments have no meaning.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut older = String::with_capacity(text.len());
    for line in text.lines() {
        let is_of_counter = |name: &str| text.contains(&format!("# TYPE {name} counter\n"));
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["#", "UNIT" | "EOF", ..] => continue,
            ["#", word, name, ..] if is_of_counter(name) => {
                let rest = line.splitn(4, ' ').nth(3).unwrap_or("");
                older.push_str(&format!("# {word} {name}_total {rest}\n"));
            }
            _ => {
                older.push_str(line);
                older.push('\n');
            }
        }
    }
    files::replace(path, older.as_bytes(), 0o644)
        .map_err(|e| Failure::failed(format!("could not write \"{}\": {e}", path.display())))
}
