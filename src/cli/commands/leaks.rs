//! `swrun leaks`: whose memory gets worse, how sure that is, and when it meets its ceiling.

use serde::Serialize;

use crate::cli::args::Leaks;
use crate::cli::commands::status::document;
use crate::cli::exit::{Ended, Exit};
use crate::cli::output::Output;
use crate::cli::show::table::{Cell, Column, Row, Style, render};
use crate::formats::clean::clean;
use crate::formats::words::leak::sentence;
use crate::formats::words::{bytes, seconds};
use crate::model::{EnvironmentStatus, LeakStatus, LeakVerdict, Places};

const COLUMNS: [Column; 6] = [
    Column { head: "name", right: false, expendable: 0 },
    Column { head: "verdict", right: false, expendable: 0 },
    Column { head: "anon / max", right: true, expendable: 1 },
    Column { head: "an hour", right: true, expendable: 2 },
    Column { head: "sure", right: true, expendable: 4 },
    Column { head: "ceiling in", right: true, expendable: 3 },
];

/// `swrun leaks --json`.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    environments: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    anon: Option<u64>,
    max: Option<u64>,
    leak: &'a LeakStatus,
    text: String,
}

/// Shows the verdicts, the worst first.
pub fn run(places: &Places, leaks: &Leaks, output: &mut Output) -> Ended {
    let mut status = document(places, &leaks.selection.named())?;
    status.environments.sort_by_key(|one| std::cmp::Reverse(one.leak.verdict));
    if leaks.json {
        let environments = status
            .environments
            .iter()
            .map(|one| Line {
                name: &one.name,
                anon: one.memory.anon,
                max: one.memory.max,
                leak: &one.leak,
                text: sentence(&one.leak),
            })
            .collect();
        output.json(&Document { schema: 1, environments })?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Row> = status.environments.iter().map(row).collect();
    for line in render(&COLUMNS, &rows, output.width, output.colour) {
        output.line(&line)?;
    }
    Ok(Exit::Done)
}

fn row(one: &EnvironmentStatus) -> Row {
    let leak = &one.leak;
    let style = match leak.verdict {
        LeakVerdict::Unknown => Style::Dim,
        LeakVerdict::None => Style::Good,
        LeakVerdict::Watching | LeakVerdict::Suspected => Style::Warn,
        LeakVerdict::Leaking => Style::Bad,
    };
    let plain = |text: String| Cell(text, Style::Plain);
    let growth = match leak.bytes_per_hour {
        Some(growth) if growth > 0 => bytes(Some(growth.unsigned_abs())),
        Some(_) => "0".to_owned(),
        None => "-".to_owned(),
    };
    let sure =
        leak.confidence.map_or_else(|| "-".to_owned(), |sure| format!("{:.1}%", sure * 100.0));
    Row {
        cells: vec![
            Cell(clean(&one.name).into_owned(), Style::Name),
            Cell(leak.verdict.word().to_owned(), style),
            plain(format!("{} / {}", bytes(one.memory.anon), bytes(one.memory.max))),
            plain(growth),
            plain(sure),
            plain(leak.ceiling_in_s.map_or_else(|| "-".to_owned(), |s| seconds(Some(s / 60 * 60)))),
        ],
        below: Some(sentence(leak)),
    }
}
