//! `swrun exec ENV -- CMD`: a command in the cage of an environment.

use std::ffi::CString;
use std::io::IsTerminal as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::MemfdFlags;

use crate::cli::args::Exec;
use crate::cli::client::{self, PATIENCE};
use crate::cli::exit::{Ended, Failure};
use crate::model::Places;
use crate::wire::ask::{Answer, Ask};
use crate::wire::once::{self, Once, ROLE, SCOPE};

/// Becomes the role that runs it; returns only with a failure.
pub fn run(places: &Places, exec: &Exec) -> Ended {
    let ask = Ask::Exec { target: exec.environment.clone() };
    let Answer::Exec(ticket) = client::ask(places, &ask, PATIENCE, |_, _| ())? else {
        return Err(client::unexpected());
    };
    let is_session = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let by_systemd = ticket.group.is_none();
    let once = Once {
        ticket: *ticket,
        command: exec.command.clone(),
        terminal: is_session.then(|| terminal(std::env::var("TERM").ok())),
    };
    become_role(&once, by_systemd)
        .map_err(|error| Failure::failed(format!("could not start the command: {error}")))
}

/// The kind of the operator's terminal, if it is a sane word.
fn terminal(term: Option<String>) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte);
    term.filter(|term| (1..=32).contains(&term.len()) && term.bytes().all(is_plain))
        .unwrap_or_else(|| "dumb".to_owned())
}

fn become_role(once: &Once, by_systemd: bool) -> std::io::Result<crate::cli::exit::Exit> {
    // It goes over the exec.
    let order = once::order(once, MemfdFlags::empty())?;
    let program = std::env::current_exe()?;
    let mut words: Vec<Vec<u8>> = Vec::new();
    if by_systemd {
        // Cgroups are systemd's there.
        words.extend(SCOPE.map(|word| word.as_bytes().to_vec()));
    }
    words.push(program.as_os_str().as_bytes().to_vec());
    words.push(ROLE.as_bytes().to_vec());
    words.push(order.as_raw_fd().to_string().into_bytes());
    let words: Vec<CString> = words.into_iter().map(CString::new).collect::<Result<_, _>>()?;
    let first = words.first().ok_or(std::io::ErrorKind::InvalidInput)?;
    match nix::unistd::execvp(first, &words) {
        Ok(never) => match never {},
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_a_plain_word_names_a_terminal() {
        let kind = |text: &str| super::terminal(Some(text.to_owned()));
        assert_eq!(
            (kind("xterm-256color"), kind("a\u{1b}[2J"), kind("")),
            ("xterm-256color".into(), "dumb".into(), "dumb".into())
        );
        assert_eq!(super::terminal(None), "dumb");
    }
}
