//! Completions for shells: a shell asks this program itself, so that it knows the names of environments.

use std::time::Duration;

use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use super::args::Shell;
use super::client;
use super::exit::{Ended, Exit, Failure};
use super::output::Output;
use crate::model::Places;
use crate::wire::ask::{Answer, Ask};

/// By this variable a shell says that it asks, and which one it is.
const VARIABLE: &str = "SWRUN_COMPLETE";

/// Who presses a key does not wait longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What an argument is called that names environments.
const NAMES: [&str; 3] = ["ENV", "TARGET", "ENV|PATH"];

/// Answers a shell that asks, and ends then. It asks with `--` in front of what was typed: a variable alone, which somebody
/// has exported, is no question.
pub fn answer_shell() {
    if std::env::args_os().nth(1).is_none_or(|word| word != "--") {
        return;
    }
    CompleteEnv::with_factory(|| with_names(super::command())).var(VARIABLE).complete();
}

/// `swrun completions SHELL`.
pub fn run(shell: Shell, output: &mut Output) -> Ended {
    let script = script(shell)
        .map_err(|error| Failure::failed(format!("could not write the script: {error}")))?;
    for line in script.lines() {
        output.line(line)?;
    }
    Ok(Exit::Done)
}

/// What a shell is to read once.
///
/// # Errors
/// None that is known: it is written to memory.
pub fn script(shell: Shell) -> std::io::Result<String> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let name = shell.name();
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "swrun", "swrun", "swrun", &mut script)?;
    let script = String::from_utf8(script).map_err(std::io::Error::other)?;
    Ok(match name {
        // Read from a folder of zsh's at the first key, it has to answer that too.
        "zsh" => script + ZSH_FIRST,
        _ => script,
    })
}

const ZSH_FIRST: &str = "[[ $funcstack[1] == _swrun ]] && _clap_dynamic_completer_swrun \"$@\"\n";

fn with_names(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| {
        command.mut_args(|argument| {
            let named = argument.get_value_names().unwrap_or_default();
            match named.first().is_some_and(|name| NAMES.contains(&name.as_str())) {
                true => argument.add(ArgValueCandidates::new(environments)),
                false => argument,
            }
        })
    })
}

/// The names and targets that the caller may see; of a runner that does not answer none.
fn environments() -> Vec<CompletionCandidate> {
    let root = std::env::var_os("SWRUN_ROOT").filter(|root| !root.is_empty());
    let places = Places::below(root.unwrap_or_else(|| "/".into()));
    let ask = Ask::Status { targets: Vec::new() };
    // One that says a byte now and then does not hold it up either.
    let (answer, answered) = std::sync::mpsc::channel();
    std::thread::spawn(move || answer.send(client::ask(&places, &ask, PATIENCE, |_, _| ())));
    let Ok(Ok(Answer::Status(status))) = answered.recv_timeout(PATIENCE) else {
        return Vec::new();
    };
    let environments = status.environments.into_iter();
    let mut words: Vec<String> =
        environments.flat_map(|one| [Some(one.name), one.target]).flatten().collect();
    words.sort();
    words.dedup();
    words.into_iter().map(CompletionCandidate::new).collect()
}
