//! `swrun demo`: three environments of the built-in sample backend, with no configuration and no
//! users made; it shows a crash and a breach, what they cost the others, and leaves nothing behind.

mod host;
mod story;

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::args::Demo;
use super::client::{self, PATIENCE};
use super::commands::status::document;
use super::exit::{Ended, Exit, Failure};
use super::output::{Output, say};
use super::show::status::lines;
use crate::model::{EnvironmentStatus, Places, StatusDocument};
use crate::wire::ask::Ask;

use host::Stage;

/// Runs the demo; Ctrl-C ends it at any moment.
pub fn run(args: &Demo, output: &mut Output) -> Ended {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::failed(
            "the demo makes cgroups and namespaces, and gives root up for each app: run it as root (sudo swrun demo)",
        ));
    }
    let ports = [args.base_port, args.base_port + 1, args.base_port + 2];
    host::must_be_free(&ports).map_err(Failure::failed)?;
    let mut demo = Show { interrupts: interrupts()?, output, stage: Stage::set(ports)?, drawn: 0 };
    let told = story::tell(&mut demo).and_then(|()| match (args.keep, demo.output.terminal) {
        (true, _) | (false, false) => Ok(()),
        (false, true) => demo.watch(),
    });
    let Show { output, stage, .. } = demo;
    // Only the whole story is kept: Ctrl-C in its midst ends all.
    let is_kept = args.keep && told.is_ok();
    let told = match told {
        Err(Stop::Failed(failure)) => Err(failure),
        Ok(()) | Err(Stop::Interrupted) => Ok(()),
    };
    if is_kept {
        let root = stage.leave();
        output.line(&format!("it goes on. Look: swrun --root {root} status   End it: swrun --root {root} kill && rm -r {root}"))?;
        return Ok(Exit::Done);
    }
    say("ending all of it");
    stage.strike()?;
    told?;
    output.line("nothing is left: no process, no cgroup, no mount, no file")?;
    Ok(Exit::Done)
}

/// Why the story does not go on.
#[derive(Debug)]
pub enum Stop {
    /// Ctrl-C: no error.
    Interrupted,
    /// Something failed.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The demo while it runs.
pub struct Show<'a> {
    interrupts: SignalFd,
    output: &'a mut Output,
    stage: Stage,
    drawn: usize,
}

impl Show<'_> {
    /// Says a line of the story.
    fn tell(&mut self, text: &str) -> Result<(), Stop> {
        self.drawn = 0;
        self.output.line(text)?;
        Ok(self.output.flush()?)
    }

    /// The table, drawn over the last one where it is a terminal and nothing was said since.
    fn draw(&mut self, document: &StatusDocument) -> Result<(), Stop> {
        let page = lines(document, jiff::Timestamp::now(), self.output.width, self.output.colour);
        if self.output.terminal && self.drawn > 0 {
            self.output.write(&format!("\x1b[{}F\x1b[J", self.drawn))?;
        }
        for line in &page {
            self.output.line(line)?;
        }
        self.drawn = page.len();
        Ok(self.output.flush()?)
    }

    /// Waits until `is` holds of an environment, with the table live meanwhile on a terminal.
    fn until(
        &mut self,
        target: &str,
        is: impl Fn(&EnvironmentStatus) -> bool,
    ) -> Result<EnvironmentStatus, Stop> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut next_draw = Instant::now();
        loop {
            let now = document(self.stage.places(), &[])?;
            let found = now.environments.iter().find(|e| e.target.as_deref() == Some(target));
            if let Some(found) = found.filter(|found| is(found)) {
                return Ok(found.clone());
            }
            if self.output.terminal && Instant::now() >= next_draw {
                self.draw(&now)?;
                next_draw = Instant::now() + Duration::from_millis(250);
            }
            if Instant::now() > deadline {
                let text = format!(
                    "\"{target}\" does not come to that; the runner says:\n{}",
                    self.stage.log()
                );
                return Err(Failure::failed(text).into());
            }
            self.pause(Duration::from_millis(20))?;
        }
    }

    /// The table as it is now.
    fn table(&mut self) -> Result<(), Stop> {
        let now = document(self.stage.places(), &[])?;
        self.draw(&now)
    }

    /// The live table, until Ctrl-C.
    fn watch(&mut self) -> Result<(), Stop> {
        self.tell("\nlive from here on; Ctrl-C ends it and leaves nothing behind\n")?;
        loop {
            self.table()?;
            self.pause(Duration::from_secs(1))?;
        }
    }

    /// Waits; Ctrl-C ends the story.
    fn pause(&self, time: Duration) -> Result<(), Stop> {
        let mut polled = [PollFd::new(self.interrupts.as_fd(), PollFlags::POLLIN)];
        let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
        match poll(&mut polled, PollTimeout::from(millis)) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Stop::Interrupted),
            Err(error) => Err(Failure::failed(format!("could not wait: {error}")).into()),
        }
    }
}

/// Ctrl-C and its like, as a descriptor: whatever happens, the stage is struck.
fn interrupts() -> Result<SignalFd, Failure> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        mask.add(signal);
    }
    let taken =
        mask.thread_block().and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC));
    taken
        .map_err(|e| Failure::failed(format!("could not take over Ctrl-C: {}", io::Error::from(e))))
}

/// Ends every environment and the runner.
///
/// # Errors
/// The runner cannot be reached.
pub fn end_all(places: &Places) -> Result<(), Failure> {
    client::ask(places, &Ask::Kill {}, PATIENCE, |_, _| ()).map(|_| ())
}
