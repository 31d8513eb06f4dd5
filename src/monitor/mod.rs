//! One monitor keeps one environment alive, on its own: the runner may be dead.
//!
//! One thread, one poll loop: wait -> event -> `lifecycle::step` -> act. It reads nothing but the spec
//! that the runner wrote, and writes nothing where an app could.

mod act;
mod blocked;
mod budget;
mod calls;
mod changes;
mod control;
mod cron;
mod handover;
mod holder;
mod instance;
mod listeners;
mod logs;
mod make;
mod measure;
mod notices;
mod orders;
mod past;
mod ports;
mod probe;
mod ready;
mod refusals;
mod run;
mod start;
mod wall;

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::model::{EnvName, Places};
use crate::sys::{files, memory, passed};
use crate::wire::launch::Init;

/// The hidden role's word.
pub const ROLE: &str = "__monitor";

/// Another monitor has the environment.
pub const EXIT_TAKEN: u8 = 75;

/// What the role was started with: `__monitor NAME --root DIR [--cgroup GROUP] [--sockets N,…]`, or after an
/// older program of it in the same process `__monitor NAME --root DIR --handover N`; `--try N` looks at what would
/// be handed over, and that is all.
#[derive(Debug)]
struct Arguments {
    name: EnvName,
    places: Places,
    /// Its group below the hierarchies' root; without it the group it was started in (a unit of
    /// systemd's).
    group: Option<PathBuf>,
    /// Listening sockets that a monitor before held.
    sockets: Vec<OwnedFd>,
    /// What an older program handed over; whether it is only to be tried.
    handover: Option<(File, bool)>,
}

/// Runs the role; its instances take that of `init`.
#[must_use]
pub fn main(init: Init) -> ExitCode {
    let mut arguments = match arguments(std::env::args().skip(2)) {
        Ok(arguments) => arguments,
        Err(text) => return fail(&text),
    };
    // What `ps -e` and `top` show; the kernel's own choice is the number of the descriptor it was
    // executed by.
    let _ = rustix::thread::set_name(c"swrun-monitor");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Without the capability it is as any other.
    let _ = memory::set_oom_score(memory::LAST);
    let name = arguments.name.clone();
    if let Some((memory, is_trial)) = arguments.handover.take() {
        return go_on(memory, is_trial, arguments, init);
    }
    match take(&arguments.places, &arguments.name) {
        Ok(Some(lock)) => {
            match run::Monitor::new(arguments, init, lock).and_then(run::Monitor::run) {
                // Lock and connections are closed by the kernel, with the process: who waits for their
                // end (stop, kill) finds no monitor any more.
                Ok(_monitor) => std::process::exit(0),
                Err(error) => fail(&format!("{name}: {error}")),
            }
        }
        Ok(None) => {
            eprintln!("swrun: {name}: another monitor keeps this environment");
            ExitCode::from(EXIT_TAKEN)
        }
        Err(error) => fail(&format!("could not lock the environment \"{name}\": {error}")),
    }
}

/// In the place of an older program.
fn go_on(memory: File, is_trial: bool, arguments: Arguments, init: Init) -> ExitCode {
    let state = handover::read(memory).and_then(|state| {
        let is_its = *state.name() == arguments.name;
        if is_its { Ok(state) } else { Err("it is of another environment".to_owned()) }
    });
    let ended = match state {
        Ok(state) if is_trial => match run::Monitor::try_out(&state, &arguments.places) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => Err(error),
        },
        Ok(state) => {
            run::Monitor::resume(state, arguments.places, init).and_then(run::Monitor::run)
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(_monitor) => std::process::exit(0),
        Err(error) => fail(&format!("{}: {error}", arguments.name)),
    }
}

/// The lock that makes this the environment's only monitor, held as long as the process lives.
fn take(places: &Places, name: &EnvName) -> io::Result<Option<File>> {
    let folder = places.monitor(name);
    files::make_folder(&folder, 0o700)?;
    files::lock(&folder.join("lock"))
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let name = given.next().ok_or("the monitor needs the name of its environment")?;
    let name = EnvName::parse(&name).map_err(|error| error.to_string())?;
    let (mut root, mut group, mut sockets) = (PathBuf::from("/"), None, String::new());
    let mut memory = None;
    while let Some(option) = given.next() {
        let value = given.next().ok_or_else(|| format!("\"{option}\" needs a value"))?;
        match option.as_str() {
            "--root" => root = value.into(),
            "--cgroup" => group = Some(PathBuf::from(value)),
            "--sockets" => sockets = value,
            "--handover" | "--try" => memory = Some((value, option == "--try")),
            _ => return Err(format!("the monitor does not know \"{option}\"")),
        }
    }
    // From systemd's store, or from the runner, whichever started this.
    let stored = sd_notify::listen_fds().into_iter().flatten();
    let numbers = sockets.split(',').filter(|number| !number.is_empty()).map(str::parse);
    let numbers: Vec<RawFd> = numbers
        .chain(stored.map(Ok))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("\"--sockets {sockets}\": {error}"))?;
    let sockets = passed::take(&numbers)
        .map_err(|error| format!("could not take over sockets {numbers:?}: {error}"))?;
    let handover = memory.map(|(number, is_trial)| {
        let file = number.parse().map_err(io::Error::other).and_then(handover::one);
        let file = file.map_err(|error| format!("could not take over \"{number}\": {error}"))?;
        Ok::<_, String>((File::from(file), is_trial))
    });
    Ok(Arguments {
        name,
        places: Places::below(root),
        group,
        sockets,
        handover: handover.transpose()?,
    })
}

fn fail(text: &str) -> ExitCode {
    eprintln!("swrun: monitor: {text}");
    ExitCode::FAILURE
}
