//! `swrun stop`, `restart`, `delete`, and what all orders share: progress, outcomes, exit status.

use crate::cli::args;
use crate::cli::client::{self, PATIENCE};
use crate::cli::commands::trace;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::{Output, is_watched, say};
use crate::formats::clean::clean;
use crate::model::Places;
use crate::sys::trace::Trace;
use crate::wire::ask::{Answer, Ask, Order, Outcome};

/// `swrun stop`.
pub fn stop(places: &Places, order: &args::Order, output: &mut Output) -> Ended {
    carry_out(places, &Ask::Stop(of(order)), output)
}

/// `swrun restart`.
pub fn restart(
    places: &Places,
    restart: &args::Restart,
    began: Trace,
    output: &mut Output,
) -> Ended {
    let order = of(&restart.order);
    let targets = restart.trace.then(|| order.targets.clone());
    traced(places, &Ask::Restart(order), targets, began, output)
}

/// Gives an order that starts something and, where `targets` is there, shows where the time went.
pub fn traced(
    places: &Places,
    ask: &Ask,
    targets: Option<Vec<String>>,
    mut began: Trace,
    output: &mut Output,
) -> Ended {
    began.did("read the command line");
    let ended = carry_out(places, ask, output)?;
    began.did("give the order, wait for its outcome");
    if let Some(targets) = targets {
        trace::show(places, targets, &began, output)?;
    }
    Ok(ended)
}

/// `swrun reload`.
pub fn reload(places: &Places, order: &args::Order, output: &mut Output) -> Ended {
    carry_out(places, &Ask::Reload(of(order)), output)
}

/// `swrun flush`.
pub fn flush(places: &Places, flush: &args::Flush, output: &mut Output) -> Ended {
    let order = Order { targets: flush.selection.named(), wait: true };
    carry_out(places, &Ask::Flush(order), output)
}

/// `swrun scale`.
pub fn scale(places: &Places, scale: &args::Scale, output: &mut Output) -> Ended {
    let order = Order { targets: vec![scale.environment.clone()], wait: !scale.no_wait };
    carry_out(places, &Ask::Scale { order, instances: scale.instances }, output)
}

/// `swrun delete`. Elsewhere none named is all; here that is refused: forgetting everything by an
/// unset variable in a script is what an operator fears, and there is no way back.
pub fn delete(places: &Places, order: &args::Order, output: &mut Output) -> Ended {
    if order.selection.named().is_empty() && !order.all {
        return Err(Failure::usage(
            "delete needs the environments to delete by name or --target; \
             to stop and forget every environment, say \"swrun delete --all\"",
        ));
    }
    carry_out(places, &Ask::Delete(of(order)), output)
}

fn of(order: &args::Order) -> Order {
    Order { targets: order.selection.named(), wait: !order.no_wait }
}

/// Gives the runner an order and shows how it went: what was done on stdout, what failed on stderr.
pub fn carry_out(places: &Places, ask: &Ask, output: &mut Output) -> Ended {
    let is_watched = is_watched();
    let answer = client::ask(places, ask, PATIENCE, |name, text| {
        if is_watched {
            // What is about the runner itself has no name in front.
            say(&if name.is_empty() { text.to_owned() } else { format!("{name}: {text}") });
        }
    })?;
    match answer {
        Answer::Done { outcomes } => report(&outcomes, output),
        _ => Err(client::unexpected()),
    }
}

pub fn report(outcomes: &[Outcome], output: &mut Output) -> Ended {
    let mut exit = Exit::Done;
    for Outcome { name, ok, text } in outcomes {
        if *ok {
            for line in format!("{name}: {text}").lines() {
                output.line(&clean(line))?;
            }
        } else {
            output.flush()?;
            say(&format!("swrun: {name}: {text}"));
            exit = Exit::Failed;
        }
    }
    if outcomes.is_empty() {
        say("swrun: there is no environment to do this to");
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_deleted_by_accident() {
        let order =
            args::Order { selection: args::Selection::default(), all: false, no_wait: false };
        let mut output = Output::into_sink(std::io::sink());
        // The places have no runner: an order that went out would end with 4.
        let Err(Failure::Because(exit, text)) =
            delete(&Places::below("/nonexistent"), &order, &mut output)
        else {
            panic!("it was taken")
        };
        assert!(exit == Exit::Usage && text.contains("--all"), "{text}");
        let aloud = args::Order { all: true, ..order };
        let Err(Failure::Because(exit, _)) =
            delete(&Places::below("/nonexistent"), &aloud, &mut output)
        else {
            panic!("there is no runner")
        };
        assert_eq!(exit, Exit::Unreachable);
    }

    #[test]
    fn one_failure_makes_the_exit_status() {
        let outcome = |name: &str, ok| Outcome { name: name.into(), ok, text: "text".into() };
        let mut output = Output::into_sink(std::io::sink());
        assert_eq!(
            report(&[outcome("a", true), outcome("b", false)], &mut output),
            Ok(Exit::Failed)
        );
        assert_eq!(report(&[outcome("a", true)], &mut output), Ok(Exit::Done));
    }
}
