//! `--trace`: where the time of a start went, a line for each step.

use std::fmt::Write as _;

use crate::cli::client::{self, PATIENCE};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::formats::clean::clean;
use crate::model::Places;
use crate::sys::trace::{Trace, TraceStep};
use crate::wire::ask::{Answer, Ask, EnvironmentTrace};

/// Shows what the start of each took, and what `own` did meanwhile.
pub fn show(
    places: &Places,
    targets: Vec<String>,
    own: &Trace,
    output: &mut Output,
) -> Result<(), Failure> {
    let ask = Ask::Trace { targets };
    let Answer::Trace(traces) = client::ask(places, &ask, PATIENCE, |_, _| ())? else {
        return Err(client::unexpected());
    };
    for trace in traces {
        output.write(&format!("\n{}", text(trace, own.steps())))?;
    }
    Ok(())
}

/// One after the other by their begin, in milliseconds from the first on. Each process does one after the other; what
/// lies beside one another was done at the same time.
fn text(trace: EnvironmentTrace, own: &[TraceStep]) -> String {
    let EnvironmentTrace { name, steps } = trace;
    let ordered_us = own.first().map_or(0, |step| step.began_us);
    // Of an order that started nothing there is nothing but itself; then it is shown what was there before.
    let is_news = steps.iter().any(|step| step.began_us >= ordered_us && step.by != "runner");
    let mut shown: Vec<TraceStep> = match is_news {
        true => own.iter().cloned().chain(steps).collect(),
        false => steps,
    };
    shown.retain(|step| (step.began_us >= ordered_us) == is_news);
    // Of two that begin together the longer one is round the other.
    shown.sort_by_key(|step| (step.began_us, std::cmp::Reverse(step.ended_us)));
    let first = shown.first().map_or(0, |step| step.began_us);
    let name = clean(&name);
    let mut text = match is_news {
        true => format!("{name}: what it took\n"),
        false if shown.is_empty() => {
            return format!("{name}: what its last start took is not known\n");
        }
        false => {
            let ago = ordered_us.saturating_sub(first) / 1_000_000;
            format!("{name}: nothing was started; what its last start took, {ago} s ago\n")
        }
    };
    let millis = |us: u64| format!("{}.{:02}", us / 1_000, us % 1_000 / 10);
    let _ = writeln!(text, "{:>9}  {:>9}  {:<10}  step", "from ms", "took ms", "by");
    for TraceStep { by, instance, step, began_us, ended_us } in shown {
        let by = match instance {
            Some(number) => format!("{} {number}", clean(&by)),
            None => clean(&by).into_owned(),
        };
        let (from, took) = (millis(began_us - first), millis(ended_us.saturating_sub(began_us)));
        let _ = writeln!(text, "{from:>9}  {took:>9}  {by:<10}  {}", clean(&step));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(by: &'static str, began_us: u64, ended_us: u64) -> TraceStep {
        TraceStep { by: by.into(), instance: None, step: "do it".into(), began_us, ended_us }
    }

    #[test]
    fn steps_are_shown_in_their_order_and_from_their_first_on() {
        let own = [step("swrun", 5_000_000, 5_001_000)];
        let app = TraceStep { instance: Some(3), ..step("app", 5_002_000, 5_004_560) };
        let steps = vec![app, step("runner", 5_001_000, 5_009_000), step("monitor", 1, 2)];
        let shown = text(EnvironmentTrace { name: "shop".into(), steps: steps.clone() }, &own);
        let lines: Vec<&str> = shown.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "     0.00       1.00  swrun       do it",
                "     1.00       8.00  runner      do it",
                "     2.00       2.56  app 3       do it",
            ]
        );
        // Nothing was started: what was there before.
        let old = vec![step("runner", 5_001_000, 5_009_000), step("monitor", 1, 2)];
        let shown = text(EnvironmentTrace { name: "shop".into(), steps: old }, &own);
        assert!(shown.contains("nothing was started") && shown.contains(" 4 s ago"), "{shown}");
        assert!(shown.ends_with("     0.00       0.00  monitor     do it\n"), "{shown}");
        let none = text(EnvironmentTrace { name: "shop".into(), steps: Vec::new() }, &own);
        assert!(none.contains("not known"), "{none}");
    }
}
