//! The command line: reads what is wanted, asks the runner or reads files, and shows the answer. Where
//! it ends, an exit status of INTERFACE is given; nothing here runs as anybody but the caller, or (`web`) as somebody with
//! fewer rights.
#![forbid(unsafe_code)]

mod ad_hoc;
mod args;
mod client;
mod commands;
mod completions;
mod demo;
mod exit;
mod export;
mod http;
mod import;
mod logs;
mod metrics;
mod monit;
mod output;
mod select;
mod show;
mod web;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
pub use args::{Shell, Whom};
use exit::{Ended, Exit, Failure};
use output::Output;

use crate::model::Places;
use crate::sys::trace::Trace;

/// Where a command line leads: most commands end here, two are roles of their own.
#[derive(Debug)]
pub enum Next {
    /// It is done.
    Exit(ExitCode),
    /// The runner is to run.
    Daemon {
        /// Where everything lies.
        places: Places,
        /// Monitors are units of systemd's.
        units: bool,
        /// From whom ports are kept.
        keeps_from: Whom,
    },
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> Next {
    let began = Trace::begin("swrun");
    completions::answer_shell();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help goes to stdout with 0, wrong usage to stderr with 2; a closed pipe is no matter.
            let _ = error.print();
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return Next::Exit(exit.into());
        }
    };
    if let Command::Daemon(daemon) = &args.command {
        let places = args.places(std::env::var_os("SWRUN_ROOT"));
        let is_the_host = places.root() == std::path::Path::new("/");
        let whom = if is_the_host { Whom::Host } else { Whom::Own };
        return Next::Daemon {
            places,
            units: daemon.systemd,
            keeps_from: daemon.reserve_ports.unwrap_or(whom),
        };
    }
    Next::Exit(here(&args, began))
}

/// The command line, for what is made of it: manual pages, completions.
#[must_use]
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

/// What a shell is to read for its completions.
///
/// # Errors
/// It could not be written.
pub fn completions(shell: Shell) -> std::io::Result<String> {
    completions::script(shell)
}

fn here(args: &Args, began: Trace) -> ExitCode {
    let mut output = Output::stdout();
    let ended = run(args, began, &mut output).and_then(|exit| output.flush().map(|()| exit));
    match ended {
        Ok(exit) => exit.into(),
        Err(Failure::OutputClosed) => Exit::Done.into(),
        Err(Failure::Because(exit, text)) => {
            let _ = output.flush();
            output::say(&format!("swrun: {text}"));
            exit.into()
        }
    }
}

fn run(args: &Args, began: Trace, output: &mut Output) -> Ended {
    let places = args.places(std::env::var_os("SWRUN_ROOT"));
    match &args.command {
        Command::Demo(demo) => demo::run(demo, output),
        // Taken before this.
        Command::Daemon(_) => Ok(Exit::Done),
        Command::Check(check) => commands::check::run(&places, check, output),
        Command::Setup(setup) => commands::setup::run(&places, setup, output),
        Command::Doctor(doctor) => commands::doctor::run(&places, doctor, output),
        Command::Start(start) => commands::start::run(&places, start, began, output),
        Command::Stop(order) => commands::order::stop(&places, order, output),
        Command::Restart(restart) => commands::order::restart(&places, restart, began, output),
        Command::Reload(order) => commands::order::reload(&places, order, output),
        Command::Scale(scale) => commands::order::scale(&places, scale, output),
        Command::Deploy(deploy) => commands::deploy::deploy(&places, deploy, output),
        Command::Rollback(back) => commands::deploy::rollback(&places, back, output),
        Command::Flush(flush) => commands::order::flush(&places, flush, output),
        Command::Ports(ports) => commands::ports::run(&places, ports, output),
        Command::Delete(order) => commands::order::delete(&places, order, output),
        Command::Status(status) => commands::status::run(&places, status, output),
        Command::Show(show) => commands::show::run(&places, show, output),
        Command::History(history) => commands::history::run(&places, history, output),
        Command::Leaks(leaks) => commands::leaks::run(&places, leaks, output),
        Command::Events(events) => commands::events::run(&places, events, output),
        Command::Monit => monit::run(&places, output),
        Command::Metrics(metrics) => metrics::run(&places, metrics, output),
        Command::Web(web) => web::run(&places, web),
        Command::Exec(exec) => commands::exec::run(&places, exec),
        Command::Logs(logs) => commands::logs::run(&places, logs, output),
        Command::Errors(errors) => commands::errors::run(&places, errors, output),
        Command::Save(save) => commands::save::save(&places, save, output),
        Command::Resurrect(list) => commands::save::resurrect(&places, list, output),
        Command::Startup => commands::startup::run(true, output),
        Command::Unstartup => commands::startup::run(false, output),
        Command::Upgrade(upgrade) => commands::upgrade::run(&places, upgrade, output),
        Command::Kill => commands::kill::run(&places, output),
        Command::Completions { shell } => completions::run(*shell, output),
        Command::Export(asked) => export::run(&places, asked, output),
        Command::Import(args::Import::Pm2(asked)) => import::pm2(&places, asked, output),
    }
}
