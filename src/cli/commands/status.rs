//! `swrun status`: the table, once or every second.

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::args::Status;
use crate::cli::client::{self, PATIENCE};
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::{Output, say};
use crate::cli::show::status::{all_wanted_are_online, footer, lines};
use crate::cli::show::table::cut;
use crate::formats::clean::clean;
use crate::model::{Places, StatusDocument};
use crate::wire::ask::{Answer, Ask};

/// Shows the state of environments.
pub fn run(places: &Places, status: &Status, output: &mut Output) -> Ended {
    let targets = status.selection.named();
    let document = document(places, &targets)?;
    if status.json {
        output.json(&document)?;
    } else if status.watch {
        return watch(places, &targets, document, output);
    } else {
        for line in lines(&document, Timestamp::now(), output.width, output.colour) {
            output.line(&line)?;
        }
        output.line(&footer(&document.host, output.width, output.colour))?;
        output.flush()?;
        if let Some((worst, others)) = document.runner.degraded.split_first() {
            let others = match others.len() {
                0 => String::new(),
                count => format!(", and {count} more"),
            };
            say(&format!("this host: {}{others} (see \"swrun doctor\")", clean(worst)));
        }
        if document.environments.is_empty() {
            say(
                "there are no environments: a profile in /etc/swrun/profiles makes one, see \"swrun check\"",
            );
        }
    }
    Ok(if all_wanted_are_online(&document) { Exit::Done } else { Exit::NotOnline })
}

/// Asks the runner.
///
/// # Errors
/// It cannot be reached or refused.
pub fn document(places: &Places, targets: &[String]) -> Result<StatusDocument, Failure> {
    match client::ask(places, &Ask::Status { targets: targets.to_vec() }, PATIENCE, |_, _| ())? {
        Answer::Status(document) => Ok(*document),
        _ => Err(client::unexpected()),
    }
}

/// Draws anew every second. It ends by Ctrl-C or a closed output; that the runner is away for a moment
/// (an upgrade, a restart) is shown and waited out.
fn watch(places: &Places, targets: &[String], first: StatusDocument, output: &mut Output) -> Ended {
    let mut answer = Ok(first);
    let mut drawn = 0;
    loop {
        // The terminal may have been resized meanwhile.
        let now = Output::stdout();
        let page = match &answer {
            Ok(document) => {
                let mut page = lines(document, Timestamp::now(), now.width, now.colour);
                page.push(footer(&document.host, now.width, now.colour));
                page
            }
            Err(Failure::Because(_, text)) => {
                vec![cut(&clean(text), now.width.unwrap_or(usize::MAX))]
            }
            Err(Failure::OutputClosed) => return Err(Failure::OutputClosed),
        };
        // A page longer than the terminal would scroll and could not be drawn over.
        let rows = now.height.map_or(usize::MAX, |height| height.saturating_sub(1).max(1));
        let page = &page[..page.len().min(rows)];
        if output.terminal {
            output.write(&over(drawn))?;
        }
        for line in page {
            output.line(line)?;
        }
        if !output.terminal {
            output.line("")?;
        }
        output.flush()?;
        drawn = page.len();
        std::thread::sleep(Duration::from_secs(1));
        answer = document(places, targets);
    }
}

/// Goes to the start of a page of so many lines and clears what is below (ECMA-48: CPL, ED).
fn over(drawn: usize) -> String {
    if drawn == 0 { String::new() } else { format!("\x1b[{drawn}F\x1b[J") }
}
