//! `swrun demo` as an operator runs it: what it tells is so, and nothing of it is left.

mod bed;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bed::{free_port, get, patience, processes_in, swrun};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// A demo in a process group of its own, as a shell starts it, and all that it puts on the host.
struct Demo {
    child: Child,
    /// What it says; beside its root, which goes.
    said: PathBuf,
    root: PathBuf,
    base_port: u16,
    groups: Vec<PathBuf>,
    has_ended: bool,
}

impl Demo {
    fn new(arguments: &[&str]) -> Self {
        let base_port = free_port();
        let mut command = Command::new(swrun());
        command.args(["demo", "--base-port", &base_port.to_string()]).args(arguments);
        Self::of(command, base_port, |child, _| child.id())
    }

    /// At a terminal: script(1) makes one, and hands on what is typed at its stdin.
    fn at_a_terminal() -> Self {
        let base_port = free_port();
        let pid = std::env::temp_dir().join(format!("swrun-demo-of-{base_port}.pid"));
        let line = format!(
            "echo $$ > {0}.new; mv {0}.new {0}; exec {1} demo --base-port {base_port}",
            pid.display(),
            swrun().display()
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]);
        let demo = Self::of(command, base_port, |_, until| {
            until(&|| pid.exists());
            let text = fs::read_to_string(&pid).expect("just written");
            text.trim().parse().expect("a pid")
        });
        fs::remove_file(pid).expect("ours");
        demo
    }

    fn of(
        mut command: Command,
        base_port: u16,
        pid: impl FnOnce(&Child, &dyn Fn(&dyn Fn() -> bool)) -> u32,
    ) -> Self {
        let said = std::env::temp_dir().join(format!("swrun-demo-of-{base_port}.log"));
        let log = fs::File::create(&said).expect("a temporary file");
        let child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the program under test");
        let pid = pid(&child, &|is| until("its pid", &said, is));
        let root = PathBuf::from(format!("/var/lib/swrun-demo-{pid}"));
        let mut demo = Self { child, said, root, base_port, groups: Vec::new(), has_ended: false };
        let root = demo.root.clone();
        // Its runner's note of where its cgroups are.
        demo.until("its cgroups", || !bed::groups_of(&root).is_empty());
        demo.groups = bed::groups_of(&demo.root);
        demo
    }

    #[track_caller]
    fn until(&self, what: &str, is: impl Fn() -> bool) {
        until(what, &self.said, &is);
    }

    #[track_caller]
    fn until_it_says(&self, words: &str) {
        self.until(words, || self.said().contains(words));
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).expect("ours")
    }

    /// SIGINT to its process group, as a terminal does.
    fn interrupt(&self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process_group(group, Signal::INT).expect("it lives");
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + patience() * 2;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `swrun` with the demo's prefix.
    fn swrun(&self, arguments: &[&str]) -> String {
        let output = Command::new(swrun())
            .arg("--root")
            .arg(&self.root)
            .args(arguments)
            .output()
            .expect("the program under test");
        assert!(output.status.success(), "{arguments:?}: {:?}", bed::texts(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    #[track_caller]
    fn nothing_is_left(mut self) {
        // A monitor that outlived its runner by a moment is reaped by the host's init.
        self.until("no process is left", || processes_in(&self.root, &self.groups).is_empty());
        let said = self.said();
        for group in &self.groups {
            assert!(!group.exists(), "{} is left\n{said}", group.display());
        }
        let mounts = fs::read_to_string("/proc/self/mounts").expect("readable");
        assert!(!mounts.contains(self.root.to_str().expect("plain")), "{mounts}");
        assert!(!self.root.exists(), "its files are left\n{said}");
        for more in 0..3 {
            assert!(bed::is_free(self.base_port + more));
        }
        self.has_ended = true;
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if !self.has_ended {
            // A test that failed: its demo ends as it ends for an operator.
            let _ = Command::new(swrun()).arg("--root").arg(&self.root).arg("kill").output();
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = fs::remove_dir_all(&self.root);
        }
        let _ = fs::remove_file(&self.said);
    }
}

#[track_caller]
fn until(what: &str, said: &Path, is: &dyn Fn() -> bool) {
    let deadline = Instant::now() + patience() * 2;
    while !is() {
        let said = || fs::read_to_string(said).unwrap_or_default();
        assert!(Instant::now() < deadline, "{what}: not so\n{}", said());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The lines of a table that begin with a name.
fn rows<'a>(said: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let lines = said.lines().filter(|line| line.starts_with(&format!("{name} ")));
    lines.map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn it_tells_of_a_crash_and_of_a_breach_and_leaves_nothing() {
    let mut demo = Demo::new(&[]);
    let ended = demo.wait();
    let said = demo.said();
    assert!(ended.success(), "{ended}\n{said}");
    // Three tables: before, after the crash, after the breach.
    let [dev, test, prod] = ["demo-dev", "demo-test", "demo-prod"].map(|name| rows(&said, name));
    for rows in [&dev, &test, &prod] {
        assert_eq!(rows.len(), 3, "{said}");
        assert!(rows.iter().all(|row| row[3] == "online"), "{said}");
    }
    let pids = |rows: &[Vec<&str>]| rows.iter().map(|row| row[2].to_owned()).collect::<Vec<_>>();
    let (of_dev, of_test, of_prod) = (pids(&dev), pids(&test), pids(&prod));
    assert!(of_dev[0] != of_dev[1] && of_dev[1] == of_dev[2], "{said}");
    assert!(of_test[0] == of_test[1] && of_test[1] != of_test[2], "{said}");
    assert!(of_prod[0] == of_prod[1] && of_prod[1] == of_prod[2], "{said}");
    let line = |name: &str, words: &str| {
        said.lines().any(|line| line.starts_with(name) && line.contains(words))
    };
    assert!(line("demo-dev", "crash, exit code 1"), "{said}");
    assert!(line("demo-test", "memory-ceiling"), "{said}");
    for words in [
        "1. a crash",
        "it ended with code 1 and answers again after",
        "2. a leak",
        "against a ceiling of 64M",
        "the whole instance was\n   killed, and a new one answers",
        "refused by the kernel (permission denied): the port is prod's",
        "4. what that cost the others",
        &format!("prod kept its process (pid {})", of_prod[0]),
        "meanwhile; 0 failed",
        "nothing is left: no process, no cgroup, no mount, no file",
    ] {
        assert!(said.contains(words), "{words:?}:\n{said}");
    }
    demo.nothing_is_left();
}

#[test]
fn a_port_that_is_taken_is_told_with_its_holder_and_nothing_is_made() {
    let base = free_port();
    let comm = fs::read_to_string("/proc/self/comm").expect("there");
    for (port, address) in [(base, "0.0.0.0"), (base + 1, "127.0.0.1"), (base + 2, "::1")] {
        let holder = TcpListener::bind((address, port)).expect("it was free");
        let child = Command::new(swrun())
            .args(["demo", "--base-port", &base.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program under test");
        let root = PathBuf::from(format!("/var/lib/swrun-demo-{}", child.id()));
        let output = child.wait_with_output().expect("our own child");
        let (out, err) = bed::texts(&output);
        assert_eq!(output.status.code(), Some(1), "{address}: {out}{err}");
        assert_eq!(out, "", "{address}");
        let holds = format!("port {port} is taken by \"{}\"", comm.trim());
        for words in [&holds, &format!("(pid {}, ", std::process::id()), "--base-port "] {
            assert!(err.contains(words), "{address}: {words:?}: {err}");
        }
        assert!(!root.exists(), "{address}");
        assert_eq!(processes_in(&root, &[]), Vec::<String>::new(), "{address}");
        drop(holder);
    }
}

#[test]
fn ctrl_c_in_the_midst_leaves_nothing() {
    for (arguments, words) in [
        (&[][..], None),
        (&[], Some("1. a crash")),
        (&[], Some("2. a leak")),
        // It has not come to what is kept.
        (&["--keep"], Some("2. a leak")),
    ] {
        let mut demo = Demo::new(arguments);
        if let Some(words) = words {
            demo.until_it_says(words);
        }
        demo.interrupt();
        let ended = demo.wait();
        let said = demo.said();
        assert!(ended.success(), "{arguments:?} {words:?}: {ended}\n{said}");
        assert!(!said.contains("4. what"), "it went on: {said}");
        assert!(said.contains("nothing is left"), "{said}");
        demo.nothing_is_left();
    }
}

/// The uids of a process.
fn uids(pid: i64) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a process has it");
    line.split_whitespace().map(|uid| uid.parse().expect("a number")).collect()
}

#[test]
fn kept_it_goes_on_under_three_users_who_are_in_no_file() {
    let mut demo = Demo::new(&["--keep"]);
    assert!(demo.wait().success(), "{}", demo.said());
    let mut all = Vec::new();
    let document: Value = serde_json::from_str(&demo.swrun(&["status", "--json"])).expect("JSON");
    for (more, target) in ["test", "dev", "prod"].into_iter().enumerate() {
        let port = demo.base_port + u16::try_from(more).expect("small");
        assert_eq!(get(port, "/healthz").expect("it answers").trim(), "ok", "{target}");
        let list = document["environments"].as_array().expect("a list");
        let status = list.iter().find(|status| status["target"] == target).expect("it is there");
        let uids = uids(status["pid"].as_i64().expect("it runs"));
        assert!(uids[0] != 0 && uids.iter().all(|uid| *uid == uids[0]), "{target}: {uids:?}");
        let events = demo.root.join(format!("var/lib/swrun/env/demo-{target}.events"));
        let events = fs::read_to_string(events).expect("a journal");
        let events = events.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let events: Vec<Value> = events.collect();
        let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
        let ends = events.iter().filter(|event| event["event"] == "ended");
        let ends: Vec<_> = ends.map(|event| event["cause"].as_str().expect("a cause")).collect();
        // What it told is what the monitors wrote down.
        let (wanted, starts): (&[&str], _) = match target {
            "test" => (&["memory-ceiling"], 2),
            "dev" => (&["crash"], 2),
            _ => (&[], 1),
        };
        assert_eq!((&ends[..], of("started")), (wanted, starts), "{target}: {events:?}");
        all.push(uids[0]);
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("there");
    let known = passwd.lines().filter_map(|line| line.split(':').nth(2)?.parse::<u32>().ok());
    let known: Vec<_> = known.collect();
    assert!(all.iter().all(|uid| !known.contains(uid)), "{all:?}");
    assert!(!passwd.contains("demo-"), "{passwd}");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3, "three users");

    // It says how to end it; its words are run as they are.
    let said = demo.said();
    let (_, end) = said.split_once("End it: ").unwrap_or_else(|| panic!("no end: {said}"));
    let own = swrun();
    let path = format!("{}:/usr/bin:/bin", own.parent().expect("a folder").display());
    let ended = Command::new("/bin/sh").args(["-c", end.trim()]).env("PATH", path).output();
    let ended = ended.expect("a shell");
    assert!(ended.status.success(), "{:?}", bed::texts(&ended));
    demo.nothing_is_left();
}

#[test]
fn at_a_terminal_it_stays_until_ctrl_c_is_typed() {
    let mut demo = Demo::at_a_terminal();
    demo.until_it_says("live from here on; Ctrl-C ends it");
    for more in 0..3 {
        assert_eq!(get(demo.base_port + more, "/healthz").expect("it answers").trim(), "ok");
    }
    // ETX: the terminal makes a SIGINT to its foreground process group of it.
    demo.child.stdin.as_mut().expect("a pipe").write_all(b"\x03").expect("script(1) reads it");
    assert!(demo.wait().success(), "{}", demo.said());
    assert!(demo.said().contains("nothing is left"), "{}", demo.said());
    demo.nothing_is_left();
}
