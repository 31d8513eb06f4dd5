//! runit, from Debian: a runsvdir, and for each job a folder with a log service.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::until;
use crate::debian;
use crate::manager::{Foreground, Job, Manager, Peer, Verb, descendants, signal};

pub struct Runit;

impl Peer for Runit {
    fn name(&self) -> &'static str {
        "runit"
    }

    fn version(&self) -> Result<String, String> {
        debian("runit")
    }

    fn up(&self, root: &Path) -> Box<dyn Manager> {
        fs::create_dir_all(root.join("service")).expect("our own folder");
        let mut running = Running { root: root.to_owned(), child: Foreground::default() };
        running.begin();
        Box::new(running)
    }
}

struct Running {
    root: PathBuf,
    child: Foreground,
}

pub fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("our own folder");
    fs::write(path, text).expect("our own folder");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// `./run` of a job, as both runit's and s6's documentation have it.
pub fn run_script(job: &Job) -> String {
    format!(
        "#!/bin/sh\nexec 2>&1\ncd '{}' || exit 1\nPORT={} exec {}\n",
        job.home.display(),
        job.port,
        job.command.join(" ")
    )
}

impl Running {
    fn begin(&mut self) {
        let mut command = Command::new("runsvdir");
        command.arg(self.root.join("service"));
        self.child.begin(&mut command);
    }

    fn define(&self, job: &Job) {
        // Whole before it is seen.
        let folder = self.root.join(format!("new-{}", job.name));
        let logs = self.root.join(format!("log-{}", job.name));
        fs::create_dir_all(&logs).expect("our own folder");
        script(&folder.join("run"), &run_script(job));
        let text = format!("#!/bin/sh\nexec svlogd '{}'\n", logs.display());
        script(&folder.join("log/run"), &text);
        // Else it keeps ten files of a megabyte.
        fs::write(logs.join("config"), "s1000000000\nn1000\n").expect("our own folder");
        fs::rename(&folder, self.root.join("service").join(&job.name)).expect("our own folder");
    }

    fn sv(&self, verb: &str, job: &Job) -> Command {
        let mut command = Command::new("sv");
        command.arg(verb).arg(self.root.join("service").join(&job.name));
        command
    }
}

impl Manager for Running {
    fn add(&mut self, job: &Job) {
        self.add_all(std::slice::from_ref(job));
    }

    fn add_all(&mut self, jobs: &[Job]) {
        jobs.iter().for_each(|job| self.define(job));
        // It looks every five seconds.
        for job in jobs {
            until("runit has seen it", || {
                self.root.join("service").join(&job.name).join("supervise/ok").exists()
            });
            let _ = self.sv("start", job).output();
        }
    }

    fn order(&self, verb: Verb, job: &Job) -> Option<Command> {
        match verb {
            Verb::Start => Some(self.sv("start", job)),
            Verb::Stop => Some(self.sv("stop", job)),
            Verb::Restart => Some(self.sv("restart", job)),
            Verb::Reload => None,
            Verb::List => {
                let mut command = Command::new("sv");
                command.arg("status");
                let folders = fs::read_dir(self.root.join("service")).expect("our own folder");
                command.args(folders.flatten().map(|entry| entry.path()));
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
        // Ends all of its runsv too (runsvdir(8)); each of them its service first.
        self.child.end(|pid| signal(pid, rustix::process::Signal::HUP));
    }
}

/// What descends from it and is a program of runit or s6.
pub fn own_of(main: u32) -> Vec<u32> {
    let is_own = |pid: &u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let name = exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        ["runsvdir", "runsv", "svlogd", "s6-svscan", "s6-supervise", "s6-log"].contains(&name)
    };
    descendants(main).into_iter().filter(is_own).collect()
}
