//! systemd, where it is the init: a service for each job, with the limits and about the walls of swrun's cage.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::manager::{Job, Manager, Peer, Verb, first_line, ok};

pub struct Systemd;

impl Peer for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn version(&self) -> Result<String, String> {
        if !Path::new("/run/systemd/system").exists() {
            return Err(
                "it is not the init here; it is measured in a machine of its own".to_owned()
            );
        }
        first_line(Command::new("systemctl").arg("--version"))
    }

    fn has_ceiling(&self) -> bool {
        true
    }

    fn up(&self, root: &Path) -> Box<dyn Manager> {
        Box::new(Running { root: root.to_owned(), jobs: Vec::new() })
    }
}

struct Running {
    root: PathBuf,
    jobs: Vec<String>,
}

fn unit(job: &Job) -> String {
    format!("peers-{}.service", job.name)
}

fn command(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

fn systemctl(words: &[&str]) -> Command {
    command("systemctl", words)
}

impl Manager for Running {
    fn add(&mut self, job: &Job) {
        // systemd takes no user who is in no file.
        let user = format!("peers-{}", job.uid);
        ok(command("useradd", &["--no-create-home", "--uid", &job.uid.to_string(), &user]));
        // V8 wants a protection key, and goes on without one; without an error number it would be killed.
        let text = format!(
            "[Service]\nExecStart={}\nWorkingDirectory={}\nEnvironment=PORT={}\nUser={user}\n\
             StandardOutput=append:{}\nStandardError=journal\nRestart=always\nRestartSec=0\nMemoryMax={}\nTasksMax=512\n\
             PrivateTmp=true\nProtectSystem=strict\nProtectHome=true\nPrivateDevices=true\n\
             NoNewPrivileges=true\nCapabilityBoundingSet=\nSystemCallFilter=@system-service @pkey\n\
             SystemCallErrorNumber=EPERM\n\
             ProtectProc=invisible\nRestrictNamespaces=true\n[Unit]\nStartLimitIntervalSec=0\n",
            job.command.join(" "),
            job.home.display(),
            job.port,
            self.log(job).display(),
            job.ceiling.unwrap_or(4 << 30),
        );
        fs::write(Path::new("/run/systemd/system").join(unit(job)), text).expect("root may");
        self.jobs.push(unit(job));
        ok(systemctl(&["daemon-reload"]));
        ok(systemctl(&["start", &unit(job)]));
    }

    fn order(&self, verb: Verb, job: &Job) -> Option<Command> {
        let verb = match verb {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
            Verb::Reload => return None,
            Verb::List => return Some(systemctl(&["--no-pager", "list-units", "peers-*"])),
        };
        Some(systemctl(&[verb, &unit(job)]))
    }

    fn own(&self) -> Vec<u32> {
        vec![1]
    }

    fn main(&self) -> u32 {
        1
    }

    fn again(&mut self) {}

    fn log(&self, job: &Job) -> PathBuf {
        self.root.join(format!("{}.log", job.name))
    }

    fn end(&mut self) {
        for unit in self.jobs.drain(..) {
            let _ = systemctl(&["stop", &unit]).output();
            let _ = fs::remove_file(Path::new("/run/systemd/system").join(&unit));
        }
        ok(systemctl(&["daemon-reload"]));
    }
}
