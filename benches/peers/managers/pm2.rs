//! PM2, from npm, as its documentation starts things: in fork mode, and programs of Node in cluster mode too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::manager::{Job, Manager, Peer, Verb, first_line, ok, processes};
use crate::peers_folder;

pub struct Pm2 {
    pub is_cluster: bool,
}

fn program() -> PathBuf {
    peers_folder().join("pm2/node_modules/pm2/bin/pm2")
}

impl Peer for Pm2 {
    fn name(&self) -> &'static str {
        if self.is_cluster { "PM2, cluster" } else { "PM2" }
    }

    fn version(&self) -> Result<String, String> {
        // "pm2 --version" would start a daemon.
        let file = peers_folder().join("pm2/node_modules/pm2/package.json");
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let node = first_line(Command::new("node").arg("--version"))?;
        Ok(format!("{} (Node {node})", value["version"].as_str().unwrap_or("?")))
    }

    fn is_for_node(&self) -> bool {
        self.is_cluster
    }

    fn has_ceiling(&self) -> bool {
        true
    }

    fn up(&self, root: &Path) -> Box<dyn Manager> {
        let running = Running { home: root.to_owned(), is_cluster: self.is_cluster };
        ok(running.pm2(&["ping"]));
        Box::new(running)
    }
}

struct Running {
    home: PathBuf,
    is_cluster: bool,
}

impl Running {
    fn pm2(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(words)
            .env("PM2_HOME", &self.home)
            .env("PM2_DISABLE_VERSION_CHECK", "true")
            .env("HOME", &self.home);
        command
    }
}

impl Manager for Running {
    fn add(&mut self, job: &Job) {
        let home = job.home.to_str().expect("a plain path");
        let mut words = vec!["start"];
        let is_node = job.command[0].ends_with("node");
        let (script, rest) = if is_node { (1, 2) } else { (0, 1) };
        words.push(&job.command[script]);
        words.extend(["--name", &job.name, "--cwd", home]);
        if !is_node {
            words.extend(["--interpreter", "none"]);
        }
        if self.is_cluster {
            words.extend(["-i", "2"]);
        }
        let ceiling = job.ceiling.map(|bytes| format!("{}M", bytes >> 20));
        if let Some(ceiling) = &ceiling {
            words.extend(["--max-memory-restart", ceiling]);
        }
        if job.command.len() > rest {
            words.push("--");
        }
        words.extend(job.command[rest..].iter().map(String::as_str));
        let mut command = self.pm2(&words);
        ok({
            command.env("PORT", job.port.to_string());
            command
        });
        ok(self.pm2(&["save", "--force"]));
    }

    fn order(&self, verb: Verb, job: &Job) -> Option<Command> {
        Some(match verb {
            Verb::Start => self.pm2(&["start", &job.name]),
            Verb::Stop => self.pm2(&["stop", &job.name]),
            Verb::Restart => self.pm2(&["restart", &job.name]),
            Verb::Reload => self.pm2(&["reload", &job.name]),
            Verb::List => self.pm2(&["list"]),
        })
    }

    fn own(&self) -> Vec<u32> {
        vec![self.main()]
    }

    fn main(&self) -> u32 {
        let title = format!("God Daemon ({})", self.home.display());
        let found = processes(|_, words| words.iter().any(|word| word.contains(&title)));
        *found.first().expect("its daemon runs")
    }

    fn again(&mut self) {
        ok(self.pm2(&["resurrect"]));
    }

    fn memory(&self) -> Option<PathBuf> {
        Some(self.home.join("dump.pm2"))
    }

    fn reboot(&mut self, meanwhile: &dyn Fn()) {
        ok(self.pm2(&["kill"]));
        meanwhile();
        // As its unit does at a boot; a dump that it cannot read is told by nothing that runs.
        let _ = self.pm2(&["resurrect"]).output();
        // Where it did not come up by that.
        ok(self.pm2(&["ping"]));
    }

    fn log(&self, job: &Job) -> PathBuf {
        self.home.join(format!("logs/{}-out.log", job.name))
    }

    fn end(&mut self) {
        let _ = self.pm2(&["kill"]).output();
    }
}
