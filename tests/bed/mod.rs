//! A bed for the root tests: a runner of its own below a temporary folder, real processes, a real
//! kernel. Included by each test binary with `mod bed;`.
#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "../common/netns.rs"]
pub mod netns;
#[path = "../common/probe.rs"]
pub mod probe;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::Value;

/// How long anything may take before a test fails; a guest kernel is forty times slower.
pub fn patience() -> Duration {
    Duration::from_secs(if is_guest() { 180 } else { 30 })
}

/// Waits for what the kernel tells no other way.
#[track_caller]
pub fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + patience();
    while !is() {
        assert!(Instant::now() < deadline, "{what}: not so");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether this is the guest kernel of `tests/uml`.
pub fn is_guest() -> bool {
    std::env::var_os("SWRUN_GUEST").is_some()
}

/// Whether the host has cgroup v2 with controllers.
pub fn is_unified() -> bool {
    fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
        .is_ok_and(|controllers| controllers.contains("memory"))
}

/// The program under test.
pub fn swrun() -> PathBuf {
    std::env::var_os("SWRUN_BIN").map_or_else(|| env!("CARGO_BIN_EXE_swrun").into(), PathBuf::from)
}

/// A runner with a prefix of its own; all of it ends with the bed.
#[derive(Debug)]
pub struct Bed {
    root: PathBuf,
    daemon: Option<Child>,
    has_ended: bool,
}

/// An environment of the bed.
#[derive(Debug, Clone)]
pub struct App {
    pub name: String,
    pub uid: u32,
    pub port: u16,
    /// Its base and cwd, owned by its user.
    pub home: PathBuf,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

fn number() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A port of this thread's own network namespace, as are the six that follow it; outside the range from
/// which the kernel takes ephemeral ones.
pub fn free_port() -> u16 {
    netns::enter();
    let offset = (std::process::id().wrapping_mul(61).wrapping_add(number() * 7)) % 20_000;
    10_000 + u16::try_from(offset).expect("below 20,000")
}

/// Binds a socket, to see whether one may; listens on none. A process that another test forks holds a copy
/// of it until it executes its program, and a copy that listens is in the way of who binds next.
pub fn bind(kind: SocketType, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Whether nobody listens on this port of IPv4.
pub fn is_free(port: u16) -> bool {
    bind(SocketType::STREAM, (Ipv4Addr::UNSPECIFIED, port).into()).is_ok()
}

impl Bed {
    /// Folders only; the runner is started by `daemon`.
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root: sudo -E tests/run");
        netns::enter();
        // Of one length, so that no bed's root is the beginning of another's.
        let name = format!("swrun-bed-{}-{:05}", std::process::id(), number());
        let root = std::env::temp_dir().join(name);
        for folder in ["etc/swrun/profiles", "srv"] {
            fs::create_dir_all(root.join(folder)).expect("a temporary folder");
        }
        for folder in ["", "etc", "etc/swrun", "etc/swrun/profiles", "srv"] {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(root.join(folder), mode).expect("our own folder");
        }
        Self { root, daemon: None, has_ended: false }
    }

    /// A bed whose runner runs.
    pub fn running() -> Self {
        let mut bed = Self::new();
        bed.daemon();
        bed
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder with an owner of its own and nothing in it; no profile yet.
    pub fn app(&self, name: &str) -> App {
        // Numbers that no user has, apart for every bed that runs at the same time.
        static USERS: AtomicU32 = AtomicU32::new(0);
        let user = USERS.fetch_add(1, Ordering::Relaxed);
        assert!(user < 600, "the next process's users");
        let uid = 200_000 + (std::process::id() % 10_000) * 600 + user;
        let home = self.root.join("srv").join(name);
        fs::create_dir(&home).expect("a new folder");
        chown(&home, Some(uid), Some(uid)).expect("root may");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("our own folder");
        App { name: name.to_owned(), uid, port: free_port(), home }
    }

    /// Writes a profile: `command` and more lines of TOML after the usual head.
    pub fn profile(&self, app: &App, command: &[&str], more: &str) {
        let command = serde_json::to_string(command).expect("texts");
        let text = format!(
            "name = \"{}\"\nuser = {}\ncwd = \"{}\"\ncommand = {command}\n{more}\n",
            app.name,
            app.uid,
            app.home.display()
        );
        fs::write(self.profile_path(app), text).expect("our own folder");
    }

    pub fn profile_path(&self, app: &App) -> PathBuf {
        self.root.join("etc/swrun/profiles").join(format!("{}.toml", app.name))
    }

    /// The probe as an environment: `serve` on its port, with more lines of TOML. Keys of the top
    /// level come before tables in `more`.
    pub fn probe(&self, app: &App, more: &str) {
        let probe = probe::path();
        let head = format!("ports = [{}]\nread-only = [\"{}\"]\n", app.port, probe.display());
        // The env file gives the port, so that [env] stays free for a test.
        self.env_file(app, &format!("PORT={}\n", app.port));
        self.profile(app, &[probe.to_str().expect("a plain path"), "serve"], &(head + more));
    }

    /// Writes the `.env` of an app, as its user would.
    pub fn env_file(&self, app: &App, text: &str) {
        let path = app.home.join(".env");
        fs::write(&path, text).expect("our own folder");
        chown(&path, Some(app.uid), Some(app.uid)).expect("root may");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    }

    /// Starts the runner and returns once it answers.
    pub fn daemon(&mut self) {
        self.daemon_by(Command::new(swrun()));
    }

    /// Starts the runner by `command`, which ends as the program under test and is given the rest of
    /// its arguments here; returns once it answers.
    pub fn daemon_by(&mut self, mut command: Command) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.join("daemon.log"))
            .expect("our own folder");
        let child = command
            .args(["daemon"])
            .env("SWRUN_ROOT", &self.root)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("the program under test");
        self.daemon = Some(child);
        let deadline = Instant::now() + patience();
        while !matches!(self.swrun(&["status"]).status.code(), Some(0 | 3)) {
            assert!(
                Instant::now() < deadline,
                "the runner does not answer:\n{}",
                self.daemon_log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn daemon_log(&self) -> String {
        let log = fs::read_to_string(self.root.join("daemon.log")).unwrap_or_default();
        let monitors = fs::read_to_string(self.root.join("var/log/swrun/monitor.log"));
        format!("{log}{}", monitors.unwrap_or_default())
    }

    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a runner").id()
    }

    /// SIGKILL to the runner.
    pub fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a runner");
        daemon.kill().expect("our own child");
        daemon.wait().expect("our own child");
    }

    /// Waits until the runner has ended by itself.
    pub fn wait_for_daemon(&mut self) -> std::process::ExitStatus {
        self.daemon.take().expect("a runner").wait().expect("our own child")
    }

    pub fn swrun(&self, arguments: &[&str]) -> Output {
        Command::new(swrun())
            .args(arguments)
            .env("SWRUN_ROOT", &self.root)
            .env_remove("NODE_ENV")
            .env_remove("PORT")
            .stdin(Stdio::null())
            .output()
            .expect("the program under test")
    }

    /// Runs a command that must succeed, and gives its stdout.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.swrun(arguments);
        let (out, err) = texts(&output);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{out}{err}\n{}",
            output.status,
            self.daemon_log()
        );
        out
    }

    /// Runs a command that must fail with `code`, and gives its stderr.
    #[track_caller]
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.swrun(arguments);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}{err}");
        err
    }

    /// `status --json` of one environment.
    #[track_caller]
    pub fn status(&self, app: &App) -> Value {
        let output = self.swrun(&["status", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {:?}\n{}", texts(&output), self.daemon_log()));
        let all = document["environments"].as_array().expect("a list").clone();
        all.into_iter().find(|e| e["name"] == app.name.as_str()).unwrap_or(Value::Null)
    }

    /// Waits until the status of an environment is as `is` wants it.
    #[track_caller]
    pub fn until(&self, app: &App, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + patience();
        loop {
            let status = self.status(app);
            if is(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what}: not so: {status:#}\n{}", self.daemon_log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts an environment and waits until it is online.
    #[track_caller]
    pub fn start(&self, app: &App) -> Value {
        self.ok(&["start", &app.name]);
        self.until(app, "online", |status| status["state"] == "online")
    }

    /// The events of an environment, from its journal.
    pub fn events(&self, app: &App) -> Vec<Value> {
        let path = self.root.join(format!("var/lib/swrun/env/{}.events", app.name));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The text of a log file, times and instances taken off.
    pub fn log(&self, app: &App, file: &str) -> Vec<String> {
        let path = self.root.join("var/log/swrun").join(&app.name).join(file);
        let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        text.lines().filter_map(|line| line.splitn(3, ' ').nth(2).map(str::to_owned)).collect()
    }

    /// The folder of the bed's cgroups in the tree that decides membership.
    pub fn groups(&self) -> Vec<PathBuf> {
        groups_of(&self.root)
    }

    /// Ends everything and holds that nothing is left: no process, no cgroup, no mount.
    #[track_caller]
    pub fn end(mut self) {
        if self.daemon.is_none() {
            self.daemon();
        }
        self.ok(&["kill"]);
        self.wait_for_daemon();
        self.has_ended = true;
        // One without a command is dead, and waits for the init that inherited it from the runner.
        let is_alive =
            |line: &String| line.split_once(' ').is_some_and(|(_, rest)| !rest.is_empty());
        let alive: Vec<String> = processes_of(&self.root).into_iter().filter(is_alive).collect();
        assert_eq!(alive, Vec::<String>::new(), "processes are left");
        until("what is dead is reaped", || processes_of(&self.root).is_empty());
        // The scope around a runner, with the group that it lived in, is systemd's to remove, once it has heard that it is empty.
        let is_ours = |group: &PathBuf| {
            let below = fs::read_dir(group).into_iter().flatten().flatten();
            let mut groups = below.filter(|entry| entry.path().is_dir());
            let is_scope = group.extension().is_some_and(|kind| kind == "scope");
            !is_scope || groups.any(|entry| entry.file_name() != "_runner")
        };
        let groups: Vec<PathBuf> = self.groups().into_iter().filter(is_ours).collect();
        assert_eq!(groups, Vec::<PathBuf>::new(), "cgroups are left");
        until("the scope is removed", || self.groups().is_empty());
        let mounts = fs::read_to_string("/proc/self/mounts").expect("readable");
        assert!(!mounts.contains(self.root.to_str().expect("a plain path")), "mounts are left");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let has_run = self.root.join("run/swrun/env").exists();
        if self.daemon.is_none() && has_run && !self.has_ended {
            // A test that failed with its runner dead: a new one ends what it left.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.daemon()));
        }
        if self.daemon.is_some() {
            self.swrun(&["kill"]);
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Standard output and error.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Every process that has the bed's root in its command line, or lives in one of its cgroups.
pub fn processes_of(root: &Path) -> Vec<String> {
    processes_in(root, &groups_of(root))
}

/// The same with the groups given, where the note of them may be gone.
pub fn processes_in(root: &Path, groups: &[PathBuf]) -> Vec<String> {
    let root = root.to_str().expect("a plain path");
    let own = std::process::id().to_string();
    let pids = fs::read_dir("/proc")
        .expect("there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()) && *pid != own)
        .filter_map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let lives_there = groups.iter().any(|g| {
                let name = g.file_name().and_then(|name| name.to_str()).unwrap_or("?");
                group.contains(&format!("/{name}"))
            });
            (command.contains(root) || lives_there).then(|| format!("{pid} {command}"))
        })
        .collect()
}

/// The top cgroups that a runner with this root made, in every hierarchy.
pub fn groups_of(root: &Path) -> Vec<PathBuf> {
    let Ok(text) = fs::read_to_string(root.join("run/swrun/cgroup")) else { return Vec::new() };
    let base = text.trim().trim_start_matches('/').to_owned();
    let mounts = fs::read_to_string("/proc/self/mounts").expect("readable");
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (point, kind) = (words.next()?, words.next()?);
            kind.starts_with("cgroup").then(|| Path::new(point).join(&base))
        })
        .filter(|folder| folder.exists())
        .collect()
}

/// One HTTP request to this machine; the answer's body.
pub fn get(port: u16, path: &str) -> io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(patience()))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("not answered: {answer:?}"))),
    }
}

/// The pid of the app as the host sees it.
pub fn pid(status: &Value) -> i32 {
    status["pid"]
        .as_i64()
        .and_then(|pid| pid.try_into().ok())
        .unwrap_or_else(|| panic!("no pid: {status}"))
}

/// SIGKILL to a process that a test of ours started.
pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
}
