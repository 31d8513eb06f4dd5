//! supervisord, from PyPI, with its defaults.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::until;
use crate::manager::{Foreground, Job, Manager, Peer, Verb, first_line, ok};
use crate::peers_folder;

pub struct Supervisord;

fn bin(name: &str) -> PathBuf {
    peers_folder().join("supervisord/bin").join(name)
}

impl Peer for Supervisord {
    fn name(&self) -> &'static str {
        "supervisord"
    }

    fn version(&self) -> Result<String, String> {
        first_line(Command::new(bin("supervisord")).arg("--version"))
    }

    fn up(&self, root: &Path) -> Box<dyn Manager> {
        fs::create_dir_all(root.join("conf.d")).expect("our own folder");
        let text = format!(
            "[unix_http_server]\nfile={0}/sock\n\
             [supervisord]\nlogfile={0}/log\npidfile={0}/pid\nchildlogdir={0}\nnodaemon=true\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{0}/sock\n[include]\nfiles={0}/conf.d/*.conf\n",
            root.display()
        );
        fs::write(root.join("conf"), text).expect("our own folder");
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
    fn begin(&mut self) {
        let _ = fs::remove_file(self.root.join("sock"));
        let mut command = Command::new(bin("supervisord"));
        command.arg("-c").arg(self.root.join("conf"));
        self.child.begin(&mut command);
        until("supervisord's socket", || self.root.join("sock").exists());
    }

    fn ctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(bin("supervisorctl"));
        command.arg("-c").arg(self.root.join("conf")).args(words);
        command
    }
}

impl Manager for Running {
    fn add(&mut self, job: &Job) {
        let text = format!(
            "[program:{}]\ncommand={}\ndirectory={}\nenvironment=PORT=\"{}\"\nautorestart=true\n\
             stdout_logfile={}\n",
            job.name,
            job.command.join(" "),
            job.home.display(),
            job.port,
            self.log(job).display(),
        );
        let file = self.root.join(format!("conf.d/{}.conf", job.name));
        fs::write(file, text).expect("our own folder");
        ok(self.ctl(&["update", &job.name]));
    }

    fn order(&self, verb: Verb, job: &Job) -> Option<Command> {
        match verb {
            Verb::Start => Some(self.ctl(&["start", &job.name])),
            Verb::Stop => Some(self.ctl(&["stop", &job.name])),
            Verb::Restart => Some(self.ctl(&["restart", &job.name])),
            Verb::Reload => None,
            Verb::List => Some(self.ctl(&["status"])),
        }
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
        let mut shutdown = self.ctl(&["shutdown"]);
        self.child.end(|_| drop(shutdown.output()));
    }
}
