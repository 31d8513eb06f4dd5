//! swrun itself: a runner of its own, each job in its cage with its user, its port and its ceiling.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::bed::{self, App, Bed, processes_of};
use crate::manager::{Job, Manager, Peer, Verb, first_line};

pub struct Swrun {
    /// How many processes a job has, all on its port.
    pub instances: u32,
}

impl Peer for Swrun {
    fn name(&self) -> &'static str {
        if self.instances > 1 { "swrun, 2 instances" } else { "swrun" }
    }

    fn version(&self) -> Result<String, String> {
        let line = first_line(Command::new(bed::swrun()).arg("--version"))?;
        Ok(line.trim_start_matches("swrun ").to_owned())
    }

    fn is_for_node(&self) -> bool {
        self.instances > 1
    }

    fn has_ceiling(&self) -> bool {
        true
    }

    fn up(&self, _: &Path) -> Box<dyn Manager> {
        Box::new(Running { instances: self.instances, ..Running::up() })
    }
}

/// A runner of its own.
pub struct Running {
    bed: Option<Bed>,
    instances: u32,
}

impl Running {
    pub fn up() -> Self {
        Self { bed: Some(Bed::running()), instances: 1 }
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, words: &[&str]) {
        self.bed().ok(words);
    }

    pub fn are_all_online(&self) -> bool {
        self.bed().swrun(&["status"]).status.success()
    }

    /// Writes its profile.
    pub fn define(&self, job: &Job) {
        let app =
            App { name: job.name.clone(), uid: job.uid, port: job.port, home: job.home.clone() };
        let words: Vec<&str> = job.command.iter().map(String::as_str).collect();
        let ceiling = job.ceiling.unwrap_or(4 << 30) >> 20;
        let (port, instances) = (job.port, self.instances);
        let text = format!(
            "ports = [{port}]\ninstances = {instances}\n[env]\nPORT = \"{port}\"\n[limits]\nmemory-max = \"{ceiling}M\"\n\
             [restart]\nfirst-delay = \"0s\"\n[logs]\nkeep = 1000\ntotal-max = \"1G\""
        );
        self.bed().profile(&app, &words, &text);
    }

    /// Ends everything, as a host that goes down.
    pub fn shut_down(&mut self) {
        let bed = self.bed.as_mut().expect("it has not ended");
        bed.ok(&["kill"]);
        bed.wait_for_daemon();
    }

    /// Starts what was wanted, as a host that comes up.
    pub fn boot(&mut self) {
        self.bed.as_mut().expect("it has not ended").daemon();
    }

    pub fn bed(&self) -> &Bed {
        self.bed.as_ref().expect("it has not ended")
    }
}

impl Manager for Running {
    fn add(&mut self, job: &Job) {
        self.define(job);
        self.bed().ok(&["start", &job.name]);
    }

    fn order(&self, verb: Verb, job: &Job) -> Option<Command> {
        let mut command = Command::new(bed::swrun());
        command.env("SWRUN_ROOT", self.bed().root());
        match verb {
            Verb::Start => command.args(["start", &job.name]),
            Verb::Stop => command.args(["stop", &job.name]),
            Verb::Restart => command.args(["restart", &job.name]),
            Verb::Reload => command.args(["reload", &job.name]),
            Verb::List => command.arg("status"),
        };
        Some(command)
    }

    fn own(&self) -> Vec<u32> {
        let program = std::fs::canonicalize(bed::swrun()).expect("built");
        let found = processes_of(self.bed().root()).into_iter().filter_map(|line| {
            let pid: u32 = line.split(' ').next()?.parse().ok()?;
            let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            (exe == program && line.contains(" __")).then_some(pid)
        });
        found.chain([self.main()]).collect()
    }

    fn main(&self) -> u32 {
        self.bed().daemon_pid()
    }

    fn again(&mut self) {
        let bed = self.bed.as_mut().expect("it has not ended");
        bed.kill_daemon();
        bed.daemon();
    }

    fn memory(&self) -> Option<PathBuf> {
        Some(self.bed().root().join("var/lib/swrun/state.json"))
    }

    fn reboot(&mut self, meanwhile: &dyn Fn()) {
        self.shut_down();
        meanwhile();
        self.boot();
    }

    fn log(&self, job: &Job) -> PathBuf {
        self.bed().root().join("var/log/swrun").join(&job.name).join("out.log")
    }

    fn end(&mut self) {
        if let Some(bed) = self.bed.take() {
            bed.end();
        }
    }
}
