//! `swrun events`: what happened to environments, and why.

use crate::cli::args::Events;
use crate::cli::client::{self, PATIENCE};
use crate::cli::exit::{Ended, Exit};
use crate::cli::output::{Output, say};
use crate::cli::show::table::{Style, cut};
use crate::formats::clean::clean;
use crate::formats::words;
use crate::model::Places;
use crate::wire::ask::{Answer, Ask};

/// Shows the last events, oldest first.
pub fn run(places: &Places, events: &Events, output: &mut Output) -> Ended {
    let ask = Ask::Events { targets: events.selection.named(), count: events.count };
    let Answer::Events(document) = client::ask(places, &ask, PATIENCE, |_, _| ())? else {
        return Err(client::unexpected());
    };
    if events.json {
        output.json(&document)?;
        return Ok(Exit::Done);
    }
    let names = document.events.iter().map(|line| line.environment.chars().count());
    let widest = names.max().unwrap_or(0);
    for line in &document.events {
        let at = Style::Dim.paint(&clean(&line.event.at), output.colour);
        let name = format!("{:widest$}", clean(&line.environment));
        let name = Style::Name.paint(&name, output.colour);
        // Never wrapped on a terminal: the whole is in "--json", or in a file.
        let left = output.width.map_or(usize::MAX, |width| width.saturating_sub(widest + 24));
        output.line(&format!("{at}  {name}  {}", cut(&words::event(&line.event), left)))?;
    }
    output.flush()?;
    if document.events.is_empty() {
        say("nothing has happened yet");
    }
    Ok(Exit::Done)
}
