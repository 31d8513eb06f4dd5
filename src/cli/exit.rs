//! How `swrun` ends: the exit codes that scripts rely on, and the one error type of all commands.

use std::io;
use std::process::ExitCode;

/// The exit status of the command line (INTERFACE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed, and why is on stderr.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// `status`: some wanted environment is not online.
    NotOnline = 3,
    /// The runner cannot be reached.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody reads the output any more (`swrun logs | head`): no error, and nothing to say.
    OutputClosed,
    /// With this exit status and this text for the operator.
    Because(Exit, String),
}

impl Failure {
    /// It failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Because(Exit::Failed, text.into())
    }

    /// It was called wrongly.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Because(Exit::Usage, text.into())
    }

    /// The runner cannot be reached.
    pub fn unreachable(text: impl Into<String>) -> Self {
        Self::Because(Exit::Unreachable, text.into())
    }

    /// What an error of writing to stdout means: the one place that knows of closed pipes.
    pub fn from_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::failed(format!("cannot write to standard output: {error}")),
        }
    }
}

/// What every command returns.
pub type Ended = Result<Exit, Failure>;
