//! Where things lie on the host: everything below one prefix, so that two runners can live on one
//! machine and a test needs no real `/etc`.

use std::path::{Path, PathBuf};

use super::EnvName;

/// All paths of one runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    root: PathBuf,
}

impl Places {
    /// Places below `root` (`/` for the real ones).
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The prefix itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Configuration; root writes it, swrun reads it.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc/swrun")
    }

    /// The profiles, `*.toml`.
    #[must_use]
    pub fn profiles(&self) -> PathBuf {
        self.etc().join("profiles")
    }

    /// State, mode 0700.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/swrun")
    }

    /// The profiles of environments that were started without a profile file.
    #[must_use]
    pub fn ad_hoc_profiles(&self) -> PathBuf {
        self.state().join("profiles")
    }

    /// What is wanted up.
    #[must_use]
    pub fn runner_state(&self) -> PathBuf {
        self.state().join("state.json")
    }

    /// The resolved spec of an environment.
    #[must_use]
    pub fn spec(&self, name: &EnvName) -> PathBuf {
        self.state().join("env").join(format!("{name}.spec"))
    }

    /// The spec that an environment had before the release that is on trial.
    #[must_use]
    pub fn spec_before_trial(&self, name: &EnvName) -> PathBuf {
        self.state().join("env").join(format!("{name}.spec.before-trial"))
    }

    /// What the monitor remembers of its environment.
    #[must_use]
    pub fn memory_of(&self, name: &EnvName) -> PathBuf {
        self.state().join("env").join(format!("{name}.state"))
    }

    /// The journal of an environment: what happened, a JSON object a line.
    #[must_use]
    pub fn journal(&self, name: &EnvName) -> PathBuf {
        self.state().join("env").join(format!("{name}.events"))
    }

    /// What an environment used, over a year.
    #[must_use]
    pub fn history(&self, name: &EnvName) -> PathBuf {
        self.state().join("env").join(format!("{name}.history"))
    }

    /// The logs of an environment: `out.log` and `err.log`.
    #[must_use]
    pub fn logs(&self, name: &EnvName) -> PathBuf {
        self.all_logs().join(name.as_str())
    }

    /// The logs of all environments, and of the runner.
    #[must_use]
    pub fn all_logs(&self) -> PathBuf {
        self.root.join("var/log/swrun")
    }

    /// Sockets and locks, gone after a boot.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run/swrun")
    }

    /// The runner's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run().join("swrun.sock")
    }

    /// The runner's socket for who only looks: what is asked there changes nothing, whoever asks.
    #[must_use]
    pub fn see_socket(&self) -> PathBuf {
        self.run().join("see.sock")
    }

    /// The runner's lock: one runner for one prefix.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run().join("swrun.lock")
    }

    /// What every app sees as `/etc`.
    #[must_use]
    pub fn etc_of_cages(&self) -> PathBuf {
        self.run().join("etc")
    }

    /// The numbers of the wall of ports in the kernel.
    #[must_use]
    pub fn wall(&self) -> PathBuf {
        self.run().join("wall")
    }

    /// The folder of a monitor's socket and lock.
    #[must_use]
    pub fn monitor(&self, name: &EnvName) -> PathBuf {
        self.monitors().join(name.as_str())
    }

    /// The folders of all monitors.
    #[must_use]
    pub fn monitors(&self) -> PathBuf {
        self.run().join("env")
    }
}
