//! The test backend itself, uncaged: what it reports and does must be true before a cage is judged by it.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "common/probe.rs"]
mod probe;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

struct Backend {
    child: Child,
    port: u16,
    log: BufReader<ChildStdout>,
}

fn serve(variables: &[(&str, &str)]) -> Backend {
    let mut child = Command::new(probe::path())
        .arg("serve")
        .env("PORT", "0")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let port = line.split([' ', ',']).find_map(|word| word.parse().ok()).unwrap_or(0);
    Backend { child, port, log }
}

impl Backend {
    fn ask(&self, target: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn terminate(&self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
    }

    /// Waits for its end: how, stdout, stderr.
    fn end(mut self) -> (std::process::ExitStatus, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.log.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap(), out, err)
    }
}

/// The descriptors that this process hands down: whoever started the tests may have left some.
fn inheritable() -> BTreeSet<String> {
    let names = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let closes_on_exec = |name: &String| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        Some(u32::from_str_radix(flags, 8).unwrap() & libc::O_CLOEXEC as u32 != 0)
    };
    names.filter(|name| closes_on_exec(name) == Some(false)).collect()
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_report_is_true() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let status = Command::new(probe::path())
        .args(["report".as_ref(), file.as_os_str(), inside.as_os_str(), "/no/such".as_ref()])
        .args(["/proc", "/proc/version"])
        .env_clear()
        .env("A", "b")
        .stdin(Stdio::null())
        .current_dir(&inside)
        .status()
        .unwrap();
    assert!(status.success());
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();

    let uid = nix::unistd::getuid().as_raw();
    assert_eq!(report["uid"], serde_json::json!([uid, uid, uid, uid]));
    assert_eq!(report["environment"], serde_json::json!({"A": "b"}));
    assert_eq!(report["ppid"], std::process::id());
    assert_eq!(report["cwd"], inside.to_str().unwrap());
    assert_eq!(report["stdin"]["is_dev_null"], true);
    let descriptors = report["descriptors"].as_object().unwrap();
    assert_eq!(descriptors.keys().cloned().collect::<BTreeSet<_>>(), inheritable());
    assert_eq!(report["capabilities"]["effective"].as_str().unwrap().len(), 16);
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(report["hostname"], hostname.trim());
    let pid = report["pid"].as_u64().unwrap();
    assert!(report["processes"].as_array().unwrap().iter().any(|one| one["pid"] == pid));
    assert!(report["mounts"].as_array().unwrap().iter().any(|one| one["point"] == "/proc"));
    let folder_tried = &report["paths"][inside.to_str().unwrap()];
    assert_eq!(folder_tried["can_write"], true, "{folder_tried}");
    assert_eq!(folder_tried["can_list"], true);
    assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0, "its file is removed");
    assert_eq!(
        report["paths"]["/no/such"],
        serde_json::json!({"exists": false, "error": "ENOENT"})
    );
    assert_eq!(report["paths"]["/proc/version"]["can_read"], true);
    assert_eq!(report["paths"]["/proc"]["can_write"], false);
    for (name, value) in report.as_object().unwrap() {
        assert!(!value.is_null(), "{name} could not be read");
    }
}

#[test]
fn it_serves_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let backend = serve(&[("DB", "pa$$ w0rd")]);
    assert_eq!(backend.ask("/"), (200, "ok".to_owned()));
    assert_eq!(backend.ask("/pid").1, backend.child.id().to_string());
    assert_eq!(backend.ask("/env?key=DB").1, "pa$$ w0rd");
    assert_eq!(backend.ask("/env?key=NOT").0, 404);
    assert_eq!(backend.ask("/files?mb=x").0, 500);
    let report: serde_json::Value =
        serde_json::from_str(&backend.ask("/report?path=%2Fproc").1).unwrap();
    assert_eq!(report["paths"]["/proc"]["exists"], true);
    assert_eq!(backend.ask(&format!("/files?mb=20&dir={folder}")).1, "done");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    assert_eq!(backend.ask("/out?lines=3").0, 200);
    assert_eq!(backend.ask("/err?lines=2").0, 200);
    backend.terminate();
    let (status, out, err) = backend.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("out 1\nout 2\nout 3\ngot SIGTERM\n", "err 1\nerr 2\n")
    );
}

#[test]
fn its_memory_and_its_childs_are_resident_and_end_with_it() {
    let backend = serve(&[]);
    let before = resident(backend.child.id());
    assert_eq!(backend.ask("/leak?mb=16").0, 200);
    assert!(resident(backend.child.id()) >= before + 15 * 1024);
    let child: u32 = backend.ask("/leak?mb=16&child=1").1.parse().unwrap();
    assert!(resident(child) >= 16 * 1024);
    let growing: u32 = backend.ask("/grow?mb=8&rate=800&child=1").1.parse().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{growing}")).exists());
    let shm = backend.ask("/shm?mb=2").1;
    assert_eq!(std::fs::metadata(&shm).unwrap().len(), 2 << 20);
    std::fs::remove_file(shm).unwrap();
    assert_eq!(backend.ask("/signal?n=9").0, 200);
    assert_eq!(backend.end().0.signal(), Some(9));
    await_true("the child ends", || !std::path::Path::new(&format!("/proc/{child}/exe")).exists());
}

/// Asks again and again, where nothing can be waited on (a stranger's child, a file that grows).
fn await_true(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn its_ends_are_the_ones_asked_for() {
    for (target, code, signal) in [
        ("/crash?code=7", Some(7), None),
        ("/signal?n=11", None, Some(11)),
        ("/partial", Some(3), None),
    ] {
        let backend = serve(&[]);
        assert_eq!(backend.ask(target).0, 200);
        let (status, out, _) = backend.end();
        assert_eq!((status.code(), status.signal()), (code, signal), "{target}");
        assert_eq!(out.ends_with("without an end"), target == "/partial");
    }
}

#[test]
fn sigterm_is_ignored_or_slow_as_asked() {
    let slow = serve(&[("PROBE_TERM", "slow:100"), ("PROBE_LISTEN", "0")]);
    let begun = Instant::now();
    slow.terminate();
    let (status, out, _) = slow.end();
    assert_eq!((status.code(), out.as_str()), (Some(0), "drained\n"));
    assert!(begun.elapsed() >= Duration::from_millis(100));

    let mut ignoring = serve(&[("PROBE_TERM", "ignore")]);
    ignoring.terminate();
    assert_eq!(ignoring.ask("/").0, 200);
    assert!(ignoring.child.try_wait().unwrap().is_none());
    ignoring.child.kill().unwrap();
    assert_eq!(ignoring.end().0.signal(), Some(9));
}

#[test]
fn a_daemon_outlives_it_and_ignores_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beats");
    let backend = serve(&[]);
    let pid = backend.ask(&format!("/daemonize?file={}", file.display())).1;
    let pid: i32 = pid.trim().parse().unwrap();
    backend.terminate();
    // Not by its stderr's end: the daemon holds that.
    let mut backend = backend;
    assert_eq!(backend.child.wait().unwrap().code(), Some(0));
    let length = || std::fs::metadata(&file).map_or(0, |meta| meta.len());
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let before = length();
    await_true("it beats on", || length() > before + 1);
    let session = nix::unistd::getsid(Some(Pid::from_raw(pid))).unwrap();
    assert_ne!(session, nix::unistd::getsid(None).unwrap());
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn stamps_are_appended_and_storms_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stamps");
    for _ in 0..2 {
        let status =
            Command::new(probe::path()).arg("stamp").arg(&file).arg("exit:4").status().unwrap();
        assert_eq!(status.code(), Some(4));
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let stamps: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(stamps.len() == 2 && stamps[0] < stamps[1], "{stamps:?}");

    for words in [&["storm", "5"][..], &["storm", "5", "processes"]] {
        let output = Command::new(probe::path()).args(words).output().unwrap();
        let counted: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(counted, serde_json::json!({"asked": 5, "got": 5, "error": null}));
    }
}
