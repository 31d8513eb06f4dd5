//! The signal of `[stop] signal`, by its name.

use std::str::FromStr;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// A signal that asks an app to end (signal(7)); written `SIGTERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StopSignal(Signal);

impl StopSignal {
    /// The default: what every server understands as "finish and go".
    pub const TERM: Self = Self(Signal::SIGTERM);

    /// The number for the kernel.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0 as i32
    }
}

impl std::fmt::Display for StopSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl TryFrom<String> for StopSignal {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        match Signal::from_str(&name) {
            Ok(Signal::SIGSTOP | Signal::SIGCONT | Signal::SIGCHLD) | Err(_) => Err(format!(
                "\"{}\" is not a signal that ends a program: write \"SIGTERM\", \"SIGINT\" or another of signal(7)",
                name.escape_default()
            )),
            Ok(signal) => Ok(Self(signal)),
        }
    }
}

impl From<StopSignal> for String {
    fn from(signal: StopSignal) -> Self {
        signal.0.as_str().to_owned()
    }
}
