//! Horust, from the crates registry: a service file for each job, all of them there before it starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::manager::{Foreground, Job, Manager, Peer, Verb, signal};
use crate::peers_folder;

pub struct Horust;

fn bin(name: &str) -> PathBuf {
    peers_folder().join("horust/bin").join(name)
}

impl Peer for Horust {
    fn name(&self) -> &'static str {
        "Horust"
    }

    fn version(&self) -> Result<String, String> {
        // It does not say its own.
        let marked = fs::read_to_string(peers_folder().join("horust/installed"));
        let marked = marked.map_err(|error| error.to_string())?;
        Ok(marked.trim().trim_start_matches("horust@").to_owned())
    }

    fn up(&self, root: &Path) -> Box<dyn Manager> {
        for folder in ["services", "sockets"] {
            fs::create_dir_all(root.join(folder)).expect("our own folder");
        }
        Box::new(Running { root: root.to_owned(), child: Foreground::default() })
    }
}

struct Running {
    root: PathBuf,
    child: Foreground,
}

impl Running {
    fn define(&self, job: &Job) {
        let text = format!(
            "command = \"{}\"\nworking-directory = \"{}\"\nstdout = \"{}\"\n\
             [environment]\nkeep-env = true\nadditional = {{ PORT = \"{}\" }}\n\
             [restart]\nstrategy = \"always\"\nattempts = 1000000\n[termination]\nsignal = \"TERM\"\n",
            job.command.join(" "),
            job.home.display(),
            self.root.join(format!("{}.out", job.name)).display(),
            job.port,
        );
        let file = self.root.join(format!("services/{}.toml", job.name));
        fs::write(file, text).expect("our own folder");
    }

    /// It reads its services at its own start alone.
    fn begin(&mut self) {
        let mut command = Command::new(bin("horust"));
        command.arg("--services-path").arg(self.root.join("services"));
        command.arg("--uds-folder-path").arg(self.root.join("sockets"));
        self.child.begin(&mut command);
    }
}

impl Manager for Running {
    fn add(&mut self, job: &Job) {
        self.add_all(std::slice::from_ref(job));
    }

    fn add_all(&mut self, jobs: &[Job]) {
        self.end();
        jobs.iter().for_each(|job| self.define(job));
        self.begin();
    }

    /// It can be asked, and told nothing.
    fn order(&self, verb: Verb, job: &Job) -> Option<Command> {
        let mut command = Command::new(bin("horustctl"));
        command.arg("--pid").arg(self.main().to_string());
        command.arg("--uds-folder-path").arg(self.root.join("sockets"));
        command.args(["status", &format!("{}.toml", job.name)]);
        (verb == Verb::List).then_some(command)
    }

    fn own(&self) -> Vec<u32> {
        vec![self.main()]
    }

    fn main(&self) -> u32 {
        self.child.id()
    }

    fn again(&mut self) {
        self.begin();
    }

    fn log(&self, job: &Job) -> PathBuf {
        self.root.join(format!("{}.out", job.name))
    }

    fn end(&mut self) {
        self.child.end(|pid| signal(pid, rustix::process::Signal::TERM));
    }
}
