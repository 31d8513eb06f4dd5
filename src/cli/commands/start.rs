//! `swrun start`: environments by name, or with `--name` a program without a profile.

use std::ffi::OsString;
use std::path::Path;

use crate::cli::ad_hoc::{Caller, ad_hoc};
use crate::cli::args::Start;
use crate::cli::commands::order;
use crate::cli::commands::status::document;
use crate::cli::exit::{Ended, Exit, Failure};
use crate::cli::output::{Output, say};
use crate::formats::clean::clean;
use crate::model::{EnvName, Places};
use crate::sys::trace::Trace;
use crate::wire::ask::{Ask, Order};

/// Starts what was named.
pub fn run(places: &Places, start: &Start, began: Trace, output: &mut Output) -> Ended {
    let (ask, targets) = match &start.name {
        Some(name) => {
            (Ask::StartAdHoc(Box::new(ask_for_program(start, name)?)), vec![name.to_string()])
        }
        None => {
            let targets = environments(start)?;
            (Ask::Start(Order { targets: targets.clone(), wait: !start.no_wait }), targets)
        }
    };
    let ended = order::traced(places, &ask, start.trace.then_some(targets), began, output);
    match (&ask, start.evict) {
        (Ask::Start(order), true) => evict(places, order, start.yes, output).unwrap_or(ended),
        _ => ended,
    }
}

/// Ends what is in the way of what could not be started, and starts it again; `None` where nothing is.
fn evict(places: &Places, order: &Order, is_agreed: bool, output: &mut Output) -> Option<Ended> {
    let blocked = match document(places, &order.targets) {
        Ok(document) => document.environments.into_iter().filter_map(|status| {
            let by = status.blocked_by?;
            Some((status.name, by.pid?, by.to_string()))
        }),
        Err(failure) => return Some(Err(failure)),
    };
    let blocked: Vec<(String, i32, String)> = blocked.collect();
    for (name, pid, by) in &blocked {
        if !is_agreed && !agrees(&format!("{}: {}. End it? [y/N] ", clean(name), clean(by))) {
            return Some(Err(Failure::failed(format!("nothing was ended, \"{name}\" is blocked"))));
        }
        let ask = Ask::Evict { target: name.clone(), pid: *pid };
        match order::carry_out(places, &ask, output) {
            Ok(Exit::Done) => {}
            other => return Some(other),
        }
    }
    (!blocked.is_empty()).then(|| order::carry_out(places, &Ask::Start(order.clone()), output))
}

/// Asks at the terminal; without one the answer is no.
fn agrees(question: &str) -> bool {
    use std::io::{IsTerminal as _, Write as _};
    if !std::io::stdin().is_terminal() {
        say("no terminal to ask at: say --yes to end it");
        return false;
    }
    let mut stderr = std::io::stderr();
    let mut answer = String::new();
    let _ = stderr.write_all(question.as_bytes());
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

fn ask_for_program(start: &Start, name: &EnvName) -> Result<crate::wire::ask::AdHoc, Failure> {
    let cwd = std::env::current_dir().map_err(|error| {
        Failure::failed(format!("cannot tell the folder that swrun was called in: {error}"))
    })?;
    let variable = |key: &str| std::env::var_os(key);
    let is_there = |path: &Path| path.try_exists().ok();
    let caller = Caller { cwd: &cwd, variable: &variable, is_there: &is_there };
    let (ask, taken) = ad_hoc(start, name, &caller)?;
    if !taken.is_empty() {
        say(&format!("taken from your environment: {}", taken.join(" ")));
    }
    Ok(ask)
}

/// The environments named. A path among them (no name has a "/" or a ".") is a call without `--name`.
fn environments(start: &Start) -> Result<Vec<String>, Failure> {
    let name = |operand: &OsString| {
        let text = operand.to_string_lossy().into_owned();
        if text.is_empty() {
            return Err(Failure::usage("an environment's name is empty: is a variable not set?"));
        }
        if text.contains(['/', '.']) {
            return Err(Failure::usage(format!(
                "\"{text}\" is no environment's name; to start a program without a profile, \
                 give it a name: swrun start {text} --name NAME"
            )));
        }
        Ok(text)
    };
    let operands = start.operands.iter().map(name);
    operands.chain(start.targets.iter().map(|target| Ok(target.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Args, Command};

    fn named(line: &[&str]) -> Result<Vec<String>, Failure> {
        let args = Args::try_parse_from(["swrun", "start"].iter().chain(line)).expect("it parses");
        let Command::Start(start) = args.command else { panic!("not start") };
        environments(&start)
    }

    #[test]
    fn an_environment_is_told_from_a_path() {
        assert_eq!(named(&[]), Ok(Vec::new()));
        assert_eq!(
            named(&["backend-prod", "-t", "dev"]),
            Ok(vec!["backend-prod".into(), "dev".into()])
        );
        for path in ["app.js", "./app", "/opt/app", ""] {
            let Err(Failure::Because(Exit::Usage, text)) = named(&[path]) else { panic!("{path}") };
            assert!(path.is_empty() || text.contains("--name NAME"), "{text}");
        }
    }
}
