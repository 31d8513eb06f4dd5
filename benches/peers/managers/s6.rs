//! s6, from Debian: an s6-svscan, and for each job a folder with a log service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::runit::{own_of, run_script, script};
use crate::common::until;
use crate::debian;
use crate::manager::{Foreground, Job, Manager, Peer, Verb, ok};

pub struct S6;

impl Peer for S6 {
    fn name(&self) -> &'static str {
        "s6"
    }

    fn version(&self) -> Result<String, String> {
        debian("s6")
    }

    fn up(&self, root: &Path) -> Box<dyn Manager> {
        fs::create_dir_all(root.join("scan")).expect("our own folder");
        let mut running = Running { root: root.to_owned(), child: Foreground::default() };
        running.begin();
        Box::new(running)
    }
}

struct Running {
    root: PathBuf,
    child: Foreground,
}

impl Running {
    fn scan(&self) -> PathBuf {
        self.root.join("scan")
    }

    fn begin(&mut self) {
        let _ = fs::remove_file(self.scan().join(".s6-svscan/control"));
        let mut command = Command::new("s6-svscan");
        command.arg(self.scan());
        self.child.begin(&mut command);
        until("s6-svscan", || self.scan().join(".s6-svscan/control").exists());
    }

    fn svc(&self, words: &[&str], job: &Job) -> Command {
        let mut command = Command::new("s6-svc");
        command.args(words).arg(self.scan().join(&job.name));
        command
    }
}

impl Manager for Running {
    fn add(&mut self, job: &Job) {
        let folder = self.root.join(format!("new-{}", job.name));
        let logs = self.root.join(format!("log-{}", job.name));
        script(&folder.join("run"), &run_script(job));
        let text = format!("#!/bin/sh\nexec s6-log n1000 s100000000 '{}'\n", logs.display());
        script(&folder.join("log/run"), &text);
        fs::rename(&folder, self.scan().join(&job.name)).expect("our own folder");
        let mut command = Command::new("s6-svscanctl");
        command.arg("-a").arg(self.scan());
        ok(command);
    }

    fn order(&self, verb: Verb, job: &Job) -> Option<Command> {
        match verb {
            Verb::Start => Some(self.svc(&["-wu", "-u"], job)),
            Verb::Stop => Some(self.svc(&["-wD", "-d"], job)),
            Verb::Restart => Some(self.svc(&["-wr", "-r"], job)),
            Verb::Reload => None,
            Verb::List => {
                // Of one: it has no list.
                let mut command = Command::new("s6-svstat");
                command.arg(self.scan().join(&job.name));
                Some(command)
            }
        }
    }

    fn own(&self) -> Vec<u32> {
        own_of(self.main())
    }

    fn main(&self) -> u32 {
        self.child.id()
    }

    fn again(&mut self) {
        self.begin();
    }

    fn log(&self, job: &Job) -> PathBuf {
        self.root.join(format!("log-{}/current", job.name))
    }

    fn end(&mut self) {
        let mut command = Command::new("s6-svscanctl");
        command.arg("-t").arg(self.scan());
        self.child.end(|_| drop(command.output()));
    }
}
