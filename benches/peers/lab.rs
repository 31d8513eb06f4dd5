//! Where it is measured: a folder, programs, and everybody who can take part.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{self, bed};
use crate::manager::{Job, Manager, Peer, kill, processes};
use crate::managers;
use crate::result::{Row, Run};

pub struct Lab {
    pub root: PathBuf,
    peers: Vec<(Box<dyn Peer>, String)>,
    missing: Vec<(String, String)>,
    commit: String,
    next: Cell<u32>,
}

/// A manager that runs, and whose.
pub struct Guest {
    pub name: &'static str,
    pub has_ceiling: bool,
    pub is_for_node: bool,
    pub manager: Box<dyn Manager>,
}

/// Express, 20 ms a request or at once.
const EXPRESS: &str = "
const app = require('express')();
const born = process.hrtime.bigint() + '\\n';
app.get('/', (request, response) => response.send(born));
app.get('/slow', (request, response) => setTimeout(() => response.send(born), 20));
const kept = [];
app.get('/leak', () => { for (;;) kept.push(Buffer.alloc(1 << 20, 1)); });
const server = app.listen(process.env.PORT, '127.0.0.1');
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => {
  require('net').Server.prototype.close.call(server, () => process.exit(0));
  setTimeout(() => server.closeIdleConnections(), 500).unref();
});
";

impl Guest {
    /// Gives it a job, which answers then.
    pub fn start(&mut self, job: &Job) {
        self.manager.add(job);
        job.answers_anew("");
    }
}

impl Lab {
    pub fn new() -> Self {
        bed::netns::enter();
        show_debian();
        let root = std::env::temp_dir().join(format!("swrun-peers-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a temporary folder");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("our own folder");
        let only = std::env::var("SWRUN_PEERS_ONLY").unwrap_or_default();
        let (mut peers, mut missing) = (Vec::new(), Vec::new());
        for peer in managers::all() {
            if !only.is_empty() && !only.split(';').any(|name| name == peer.name()) {
                continue;
            }
            match peer.version() {
                Ok(version) => peers.push((peer, version)),
                Err(why) => missing.push((peer.name().to_owned(), why)),
            }
        }
        let program = root.join("server");
        common::compile("benches/peers/server.c", &program);
        // Before results are written beside the code.
        Self { root, peers, missing, commit: commit(), next: Cell::new(0) }
    }

    /// An empty one, with everybody who can take part.
    pub fn run(&self, work: &str) -> Run {
        let kernel = rustix::system::uname();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let named =
            |(peer, version): &(Box<dyn Peer>, String)| (peer.name().to_owned(), version.clone());
        Run {
            work: work.to_owned(),
            commit: self.commit.clone(),
            host: format!("Linux {}, {cpus} CPUs", kernel.release().to_string_lossy()),
            date: jiff::Timestamp::now().to_string()[..10].to_owned(),
            peers: self.peers.iter().map(named).collect(),
            missing: self.missing.clone(),
            rows: Vec::new(),
        }
    }

    fn number(&self) -> u32 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// Everybody who keeps any program, each with a manager of its own that has nothing to do yet.
    pub fn guests(&self) -> Vec<Guest> {
        self.peers().filter(|peer| !peer.is_for_node()).map(|peer| self.guest(peer)).collect()
    }

    /// The same, and those that keep programs of Node in a way of their own.
    pub fn guests_for_node(&self) -> Vec<Guest> {
        self.peers().map(|peer| self.guest(peer)).collect()
    }

    /// One after the other, for what would be disturbed by the others.
    pub fn each(&self, what: impl FnMut(Guest)) {
        self.peers().filter(|peer| !peer.is_for_node()).map(|peer| self.guest(peer)).for_each(what);
    }

    /// The same of all who keep programs of Node.
    pub fn each_for_node(&self, what: impl FnMut(Guest)) {
        self.peers().map(|peer| self.guest(peer)).for_each(what);
    }

    fn peers(&self) -> impl Iterator<Item = &dyn Peer> {
        self.peers.iter().map(|(peer, _)| peer.as_ref())
    }

    fn guest(&self, peer: &dyn Peer) -> Guest {
        let folder = self.root.join(format!("manager-{}", self.number()));
        fs::create_dir_all(&folder).expect("our own folder");
        let (has_ceiling, is_for_node) = (peer.has_ceiling(), peer.is_for_node());
        Guest { name: peer.name(), has_ceiling, is_for_node, manager: peer.up(&folder) }
    }

    fn job(&self, name: &str) -> Job {
        let number = self.number();
        let home = self.root.join(format!("job-{number}"));
        fs::create_dir_all(&home).expect("our own folder");
        Job {
            name: name.to_owned(),
            home,
            port: bed::free_port(),
            command: Vec::new(),
            ceiling: None,
            uid: 190_000 + number,
        }
    }

    /// The small program; `words` follow its port.
    pub fn small(&self, name: &str, words: &[&str]) -> Job {
        let mut job = self.job(name);
        let program = job.home.join("server");
        fs::copy(self.root.join("server"), &program).expect("our own folder");
        job.command = vec![program.display().to_string(), job.port.to_string()];
        job.command
            .extend(words.iter().map(|word| word.replace("HOME", &job.home.display().to_string())));
        own(&job);
        job
    }

    /// Express.
    pub fn express(&self, name: &str) -> Job {
        let mut job = self.job(name);
        let modules = crate::peers_folder().join("express/node_modules");
        let copied = Command::new("cp").arg("-a").arg(modules).arg(&job.home).status();
        assert!(copied.is_ok_and(|status| status.success()));
        let script = job.home.join("index.js");
        fs::write(&script, EXPRESS).expect("our own folder");
        let which = std::env::var("PATH").unwrap_or_default();
        let node = which.split(':').map(|folder| Path::new(folder).join("node"));
        let node = node.into_iter().find(|path| path.exists()).expect("node is installed");
        job.command = vec![node.display().to_string(), script.display().to_string()];
        own(&job);
        job
    }
}

fn commit() -> String {
    // A machine of its own has the program alone.
    if let Ok(commit) = std::env::var("SWRUN_PEERS_COMMIT") {
        return commit;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/commit");
    let output = Command::new(script).output().expect("git is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Drop for Lab {
    /// Whatever a manager that was killed has left, its runsv too: by where it is, and by what it was called with.
    fn drop(&mut self) {
        let root = self.root.to_str().expect("a plain path").to_owned();
        let is_of_it = |pid: u32, words: &[String]| {
            let at = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            at.starts_with(&root) || words.iter().any(|word| word.contains(&root))
        };
        // Each end may be the start of another.
        while let Some(pid) = processes(is_of_it).first() {
            kill(*pid);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn own(job: &Job) {
    chown(&job.home, Some(job.uid), Some(job.uid)).expect("root may");
    fs::set_permissions(&job.home, fs::Permissions::from_mode(0o755)).expect("our own folder");
}

/// Shows the unpacked programs of Debian beside the host's own, to this process and its children alone: some call one another
/// by their paths.
fn show_debian() {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root may");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("a namespace of our own");
    let root = crate::peers_folder().join("debian/root");
    for folder in ["usr/bin", "usr/lib/x86_64-linux-gnu"] {
        let option = format!("lowerdir={}/{folder}:/{folder}", root.display());
        let option = std::ffi::CString::new(option).expect("a plain path");
        let target = Path::new("/").join(folder);
        mount("overlay", &target, "overlay", MountFlags::empty(), Some(option.as_c_str()))
            .expect("overlayfs is there");
    }
}

/// Adds a sample to the row of a figure, which is made where it is new.
pub fn add(run: &mut Run, figure: &str, peer: &str, sample: f64) {
    let found = run.rows.iter_mut().find(|row| row.figure == figure && row.peer == peer);
    match found {
        Some(row) => row.samples.push(sample),
        None => run.rows.push(Row {
            figure: figure.to_owned(),
            peer: peer.to_owned(),
            samples: vec![sample],
            note: String::new(),
        }),
    }
}

/// Says something about a figure of a peer, or that it has none.
pub fn note(run: &mut Run, figure: &str, peer: &str, text: &str) {
    match run.rows.iter_mut().find(|row| row.figure == figure && row.peer == peer) {
        Some(row) => row.note = text.to_owned(),
        None => run.rows.push(Row {
            figure: figure.to_owned(),
            peer: peer.to_owned(),
            samples: Vec::new(),
            note: text.to_owned(),
        }),
    }
}

/// Milliseconds since a moment.
pub fn ms(since: std::time::Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
