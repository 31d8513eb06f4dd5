//! swrun: runs the backends of one server, each in its own cage, and keeps them up.
//!
//! The house stands on floors (`docs/architecture.md`): a module uses only floors below its own,
//! and the five roles (`init`, `monitor`, `once`, `daemon`, `cli`) never use one another.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod cgroup;
pub mod cli;
pub mod daemon;
pub mod export;
pub mod formats;
pub mod host;
pub mod import;
pub mod init;
pub mod lifecycle;
pub mod model;
pub mod monitor;
pub mod once;
pub mod pack;
pub mod policy;
pub mod ports;
pub mod privilege;
pub mod profile;
pub mod reader;
pub mod sample;
#[expect(unsafe_code, reason = "the one home of unsafe: raw system calls")]
pub mod sys;
pub mod tell;
pub mod wire;

use std::process::ExitCode;

/// Takes the role that the first argument names: the hidden roles before clap and tokio wake up,
/// since each of them is an idle process of every environment.
#[must_use]
pub fn main() -> ExitCode {
    let role = std::env::args_os().nth(1);
    match role.as_deref().and_then(|role| role.to_str()) {
        Some(monitor::ROLE) => monitor::main(init::main),
        Some(wire::once::ROLE) => once::main(init::main),
        Some(reader::ROLE) => reader::main(),
        Some(pack::ROLE) => pack::main(),
        Some(tell::ROLE) => tell::main(),
        Some(sample::ROLE) => sample::main(),
        _ => match cli::main() {
            cli::Next::Exit(code) => code,
            cli::Next::Daemon { places, units, keeps_from } => {
                use daemon::Reach;
                let reach = match keeps_from {
                    cli::Whom::Host => Reach::Host,
                    cli::Whom::Own => Reach::Own,
                    cli::Whom::None => Reach::Nobody,
                };
                daemon::main(daemon::Options { places, units, reach })
            }
        },
    }
}
