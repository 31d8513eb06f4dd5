//! `swrun ports`: who owns, holds and wants which port.

use crate::cli::args::Ports;
use crate::cli::client::{self, PATIENCE};
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::{Output, say};
use crate::cli::show::table::{Cell, Column, Row, Style, render};
use crate::formats::clean::clean;
use crate::model::{Places, PortLine, PortsDocument, Protocol};
use crate::wire::ask::{Answer, Ask};

const COLUMNS: [Column; 8] = [
    Column { head: "port", right: true, expendable: 0 },
    Column { head: "proto", right: false, expendable: 4 },
    Column { head: "owner", right: false, expendable: 0 },
    Column { head: "state", right: false, expendable: 0 },
    Column { head: "listens", right: false, expendable: 1 },
    Column { head: "queue", right: true, expendable: 2 },
    Column { head: "accepted", right: true, expendable: 5 },
    Column { head: "refused", right: true, expendable: 3 },
];

/// Shows the ports of all profiles, or of some.
pub fn run(places: &Places, ports: &Ports, output: &mut Output) -> Ended {
    let document = document(places, &ports.selection.named())?;
    if ports.json {
        output.json(&document)?;
        return Ok(Exit::Done);
    }
    for line in lines(&document, output.width, output.colour) {
        output.line(&line)?;
    }
    output.flush()?;
    if document.ports.is_empty() {
        say("no environment has a port: \"ports\" of its profile names them");
    }
    Ok(Exit::Done)
}

/// Asks the runner.
///
/// # Errors
/// It cannot be reached or refused.
pub fn document(places: &Places, targets: &[String]) -> Result<PortsDocument, Failure> {
    match client::ask(places, &Ask::Ports { targets: targets.to_vec() }, PATIENCE, |_, _| ())? {
        Answer::Ports(document) => Ok(document),
        _ => Err(client::unexpected()),
    }
}

fn lines(document: &PortsDocument, width: Option<usize>, colour: bool) -> Vec<String> {
    let rows: Vec<Row> = document.ports.iter().map(row).collect();
    render(&COLUMNS, &rows, width, colour)
}

fn row(line: &PortLine) -> Row {
    let plain = |text: String| Cell(text, Style::Plain);
    let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let state = line.state.as_deref();
    let style = match state {
        Some("held" | "listening") => Style::Good,
        Some("reserved" | "closed") => Style::Dim,
        _ => Style::Bad,
    };
    let listens = match (line.pid, line.program.as_deref(), line.processes) {
        (Some(pid), program, count) => {
            let count = count.unwrap_or(1);
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            format!("{pid} {}{more}", clean(program.unwrap_or("?")))
        }
        _ => "-".to_owned(),
    };
    let queue = match (line.queue, line.backlog) {
        (Some(waiting), Some(most)) => format!("{waiting} / {most}"),
        _ => "-".to_owned(),
    };
    Row {
        cells: vec![
            plain(line.port.to_string()),
            plain(line.proto.word().to_owned()),
            Cell(clean(&line.environment).into_owned(), Style::Name),
            Cell(clean(state.unwrap_or("?")).into_owned(), style),
            plain(listens),
            plain(queue),
            plain(match line.proto {
                Protocol::Tcp => number(line.accepted),
                Protocol::Udp => "-".to_owned(),
            }),
            plain(number(line.refused)),
        ],
        below: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PortStatus;

    #[test]
    fn what_is_known_and_what_is_not() {
        let line = |environment: &str, state: Option<&str>| {
            let state = state.map(str::to_owned);
            PortLine::idle(environment, &PortStatus { port: 3002, proto: Protocol::Tcp, state })
        };
        let held = PortLine {
            pid: Some(4711),
            program: Some("no\u{1b}de".to_owned()),
            processes: Some(3),
            queue: Some(2),
            backlog: Some(511),
            accepted: Some(1_234),
            refused: Some(7),
            ..line("shop", Some("held"))
        };
        let document = PortsDocument { schema: 1, ports: vec![held, line("blog", None)] };
        let lines = lines(&document, None, false);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(&lines[1])[..5],
            ["3002", "tcp", "shop", "held", "4711"].map(str::to_owned)
        );
        assert!(lines[1].contains("and 2 more"), "{lines:#?}");
        let last = words(&lines[1]).split_off(9);
        assert_eq!(last, ["2", "/", "511", "1234", "7"].map(str::to_owned), "{lines:#?}");
        assert!(!lines[1].contains('\u{1b}'), "{lines:#?}");
        assert_eq!(words(&lines[2])[3..], ["?", "-", "-", "?", "?"].map(str::to_owned));
    }
}
