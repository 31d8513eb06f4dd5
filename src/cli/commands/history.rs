//! `swrun history ENV`: what an environment used, as a chart, a table of comma-separated values or JSON.

use jiff::Timestamp;

use crate::cli::args::History;
use crate::cli::client::{self, PATIENCE};
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::logs::since::since;
use crate::cli::output::{Output, say};
use crate::cli::show::chart::{bars, columns};
use crate::cli::show::table::Style;
use crate::formats::log_line::time_text;
use crate::model::{Places, UsageSpan, format_bytes};
use crate::wire::ask::{Answer, Ask, HistoryDocument, Stretch};

/// How wide a chart is where there is no terminal.
const WIDTH: usize = 80;

/// What stands to the left of it.
const MARGIN: usize = 9;

/// Shows the history of one environment.
pub fn run(places: &Places, history: &History, output: &mut Output) -> Ended {
    let now = Timestamp::now();
    let seconds = |text: &str| since(text, now).map(|ms| ms / 1000).map_err(Failure::usage);
    let from = seconds(&history.since)?;
    let until = history.until.as_deref().map(seconds).transpose()?;
    let until = until.unwrap_or(u64::try_from(now.as_second()).unwrap_or(0));
    if until < from {
        return Err(Failure::usage("--until lies before --since"));
    }
    let document = document(places, &history.environment, from, until)?;
    if history.json {
        output.json(&document)?;
        return Ok(Exit::Done);
    }
    if history.csv {
        return csv(&document, output);
    }
    if document.spans.is_empty() {
        say("there is no history of that time: nothing ran, or it was not kept");
        return Ok(Exit::Done);
    }
    chart(&document, from, until, output)
}

/// Asks until nothing is left.
fn document(
    places: &Places,
    environment: &str,
    since: u64,
    until: u64,
) -> Result<HistoryDocument, Failure> {
    let mut stretch = Stretch { since, until: Some(until), step_s: None };
    let mut whole: Option<HistoryDocument> = None;
    loop {
        let ask = Ask::History { target: environment.to_owned(), stretch };
        let Answer::History(part) = client::ask(places, &ask, PATIENCE, |_, _| ())? else {
            return Err(client::unexpected());
        };
        let has_more = part.has_more;
        let last = part.spans.last().map(|span| span.at);
        let document = match whole.take() {
            None => *part,
            Some(mut document) => {
                document.spans.extend(part.spans);
                document
            }
        };
        let Some(last) = last.filter(|_| has_more) else {
            return Ok(HistoryDocument { has_more: false, ..document });
        };
        stretch.since = last + 1;
        stretch.step_s = Some(document.step_s);
        whole = Some(document);
    }
}

fn chart(document: &HistoryDocument, since: u64, until: u64, output: &mut Output) -> Ended {
    let width = output.width.unwrap_or(WIDTH).clamp(MARGIN + 10, MARGIN + 200) - MARGIN;
    let spread = |which: fn(&UsageSpan) -> Option<f64>| {
        columns(document.spans.iter().map(|span| (span.at, which(span))), since, until, width)
    };
    let most = |values: &[Option<f64>]| values.iter().flatten().copied().fold(0.0, f64::max);
    let bytes = |value: f64| format_bytes(value as u64);
    let mut part = |title: String, values: &[Option<f64>], top: f64, height: usize, head: &str| {
        output.line(&Style::Bold.paint(&title, output.colour))?;
        for (number, line) in bars(values, top, height).into_iter().enumerate() {
            let mark = if number == 0 { head } else { "" };
            output.line(&format!("{mark:>7} │{line}"))?;
        }
        output.line(&format!("{:>7} └{}", "0", "─".repeat(width)))
    };
    let anon = spread(|span| span.anon_max.map(|bytes| bytes as f64));
    let largest = most(&anon);
    // Against its ceiling, unless that is so far off that nothing would be seen.
    let ceiling = document.memory_max.map(|max| max as f64);
    let top = ceiling.filter(|ceiling| *ceiling < largest * 8.0).unwrap_or(largest * 1.2);
    let of =
        ceiling.map_or_else(String::new, |ceiling| format!(", of a ceiling of {}", bytes(ceiling)));
    part(format!("anonymous memory, at most {}{of}", bytes(largest)), &anon, top, 8, &bytes(top))?;
    let cpu = spread(|span| span.cpu_percent);
    let largest = most(&cpu);
    let top = largest.max(1.0);
    let head = format!("{top:.0}%");
    part(format!("CPU, at most {largest:.1}% of one"), &cpu, top, 3, &head)?;
    let pressure = spread(|span| span.memory_pressure);
    if most(&pressure) > 0.0 {
        let top = most(&pressure);
        part(
            format!("stalled for want of memory, at most {top:.1}%"),
            &pressure,
            top,
            2,
            &format!("{top:.0}%"),
        )?;
    }
    let restarts: u32 = document.spans.iter().map(|span| u32::from(span.restarts)).sum();
    let time = |seconds: u64| {
        let text = time_text(seconds * 1000);
        String::from_utf8_lossy(&text[..19]).replace('T', " ")
    };
    let (from, to) = (time(since), time(until));
    let gap = width.saturating_sub(from.len() + to.len());
    output.line(&format!("{:>MARGIN$}{from}{}{to}", "", " ".repeat(gap)))?;
    output.line(&format!(
        "{} spans of {} s, UTC; {restarts} ends of instances",
        document.spans.len(),
        document.step_s
    ))?;
    Ok(Exit::Done)
}

/// Comma-separated values (RFC 4180), a line for each span; what is unknown is empty.
fn csv(document: &HistoryDocument, output: &mut Output) -> Ended {
    const HEAD: &str = "at,step_s,samples,life,instances,restarts,anon_min,anon,anon_max,file,shmem,kernel,current_max,cpu_percent,throttled_ms,pids_max,memory_pressure,cpu_pressure,io_pressure,read,written,queue_max";
    output.line(HEAD)?;
    let whole = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let real = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    for span in &document.spans {
        let fields = [
            span.at.to_string(),
            span.step_s.to_string(),
            span.samples.to_string(),
            span.life.to_string(),
            span.instances.to_string(),
            span.restarts.to_string(),
            whole(span.anon_min),
            whole(span.anon),
            whole(span.anon_max),
            whole(span.file),
            whole(span.shmem),
            whole(span.kernel),
            whole(span.current_max),
            real(span.cpu_percent),
            whole(span.throttled_ms),
            whole(span.pids_max),
            real(span.memory_pressure),
            real(span.cpu_pressure),
            real(span.io_pressure),
            whole(span.read),
            whole(span.written),
            whole(span.queue_max),
        ];
        output.line(&fields.join(","))?;
    }
    Ok(Exit::Done)
}
