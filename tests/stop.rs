//! Stopping: the signal, the grace, the whole group; orders that cross; what is left, and the logs.

mod bed;
#[path = "common/kernel.rs"]
mod kernel;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use bed::{App, Bed, get, is_guest, patience, pid, processes_of};
use kernel::{descriptors, events, instance, lives, processes};
use serde_json::Value;
use swrun::ports::Wall;

#[test]
fn the_configured_signal_arrives() {
    let bed = Bed::running();
    let (term, int) = (bed.app("term"), bed.app("int"));
    bed.probe(&term, "");
    let script = "trap 'echo got SIGINT; exit 0' INT; trap 'echo got SIGTERM; exit 1' TERM; \
                  echo up; while :; do sleep 900 & wait; done";
    bed.profile(&int, &["/bin/sh", "-c", script], "[stop]\nsignal = \"SIGINT\"\n");
    for (app, line) in [(&term, "got SIGTERM"), (&int, "got SIGINT")] {
        let up = bed.start(app);
        kernel::until("it is ready for signals", || !bed.log(app, "out.log").is_empty());
        bed.ok(&["stop", &app.name]);
        assert_eq!(bed.log(app, "out.log").last().map(String::as_str), Some(line));
        let status = bed.status(app);
        assert_eq!((&status["state"], &status["wanted"]), (&"stopped".into(), &"stopped".into()));
        assert_eq!(status["pid"], Value::Null);
        let last = &events(&bed, app, "ended")[0];
        assert_eq!((&last["cause"], &last["code"]), (&"stopped".into(), &0.into()), "{last}");
        assert!(!lives(pid(&up)));
    }
    bed.end();
}

#[test]
fn grace_is_given_and_no_more() {
    let bed = Bed::running();
    let (deaf, slow) = (bed.app("deaf"), bed.app("slow"));
    let profile = |term: &str, grace: &str| {
        format!("[env]\nPROBE_TERM = \"{term}\"\n[stop]\ngrace = \"{grace}\"\n")
    };
    bed.probe(&deaf, &profile("ignore", "300ms"));
    bed.probe(&slow, &profile("slow:700", "60s"));
    let up = bed.start(&deaf);
    let text = bed.ok(&["stop", &deaf.name]);
    assert!(text.contains("within its grace"), "{text}");
    let last = &events(&bed, &deaf, "ended")[0];
    assert_eq!(
        (&last["cause"], &last["signal"]),
        (&"deadline".into(), &"SIGKILL".into()),
        "{last}"
    );
    assert!(!lives(pid(&up)));
    // Whoever uses the time that there is ends well.
    bed.start(&slow);
    bed.ok(&["stop", &slow.name]);
    let last = &events(&bed, &slow, "ended")[0];
    assert_eq!((&last["cause"], &last["code"]), (&"stopped".into(), &0.into()), "{last}");
    assert_eq!(bed.log(&slow, "out.log").last().map(String::as_str), Some("drained"));
    bed.end();
}

/// Has the app start a daemon that writes a file for ever; its pid on the host, and the file.
fn daemonize(bed: &Bed, app: &App, name: &str) -> (i32, PathBuf) {
    let beats = app.home.join(name);
    get(app.port, &format!("/daemonize?file={}", beats.display())).expect("it answers");
    let status = bed.status(app);
    let pids = processes(bed, app, &status);
    let daemon = pids.into_iter().find(|p| *p != pid(&status)).expect("it left its parent only");
    let length = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
    kernel::until("it beats", || length(&beats) > 1);
    (daemon, beats)
}

#[test]
fn daemonised_grandchildren_end_with_their_instance() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, &(kernel::writable(&app) + "[restart]\nfirst-delay = \"1ms\"\n"));
    bed.start(&app);
    let mut ended = Vec::new();
    let crash = || {
        let _ = get(app.port, "/crash?code=1");
        bed.until(&app, "a restart", |s| s["state"] == "online" && s["restarts"] == 1);
    };
    let restart = || drop(bed.ok(&["restart", &app.name]));
    let stop = || drop(bed.ok(&["stop", &app.name]));
    let ends: [(&str, &dyn Fn()); 3] = [("crash", &crash), ("restart", &restart), ("stop", &stop)];
    for (name, end) in ends {
        bed.until(&app, "online", |s| s["state"] == "online");
        let (daemon, beats) = daemonize(&bed, &app, name);
        end();
        assert!(!lives(daemon), "{name}: the daemon lives");
        ended.push((fs::metadata(&beats).expect("it beat").len(), beats));
    }
    // The first two had the time of a restart and more to beat on.
    for (length, beats) in &ended {
        assert_eq!(fs::metadata(beats).expect("there").len(), *length, "{}", beats.display());
    }
    bed.end();
}

#[test]
fn orders_that_cross_end_as_the_last_one_says() {
    let bed = Bed::running();

    // Stop during a start that has not come up: it listens on nothing.
    let silent = bed.app("silent");
    bed.probe(&silent, "[env]\nPROBE_LISTEN = \"0\"\n");
    bed.ok(&["start", "--no-wait", &silent.name]);
    let up = bed.until(&silent, "starting", |s| s["state"] == "starting" && !s["pid"].is_null());
    bed.ok(&["stop", &silent.name]);
    assert_eq!(bed.status(&silent)["state"], "stopped");
    assert!(!lives(pid(&up)));

    // Stop right behind the start.
    for _ in 0..3 {
        bed.ok(&["start", "--no-wait", &silent.name]);
        bed.ok(&["stop", &silent.name]);
        assert_eq!(bed.status(&silent)["state"], "stopped");
    }

    // Stop during backoff: it does not come back.
    let looping = bed.app("loop");
    let rules = "[restart]\nfirst-delay = \"300ms\"\nmax-delay = \"300ms\"\n";
    bed.profile(&looping, &["/bin/sh", "-c", "exit 3"], rules);
    bed.ok(&["start", "--no-wait", &looping.name]);
    bed.until(&looping, "it waits", |s| s["state"] == "backoff");
    bed.ok(&["stop", &looping.name]);
    let starts = events(&bed, &looping, "started").len();

    // Restart while it stops: it comes back, once.
    let slow = bed.app("slow");
    bed.probe(&slow, "[env]\nPROBE_TERM = \"slow:900\"\n");
    let before = bed.start(&slow);
    bed.ok(&["stop", "--no-wait", &slow.name]);
    bed.until(&slow, "it stops", |s| s["state"] == "stopping" || s["state"] == "stopped");
    bed.ok(&["restart", &slow.name]);
    let after = bed.until(&slow, "online", |s| s["state"] == "online");
    assert_ne!(after["pid"], before["pid"]);
    assert!(!lives(pid(&before)));
    assert_eq!(after["wanted"], "online");
    assert_eq!(bed.log(&slow, "out.log").iter().filter(|line| *line == "drained").count(), 1);

    // Two restarts at once are one environment still.
    bed.ok(&["restart", "--no-wait", &slow.name]);
    bed.ok(&["restart", &slow.name]);
    let last = bed.until(&slow, "online", |s| s["state"] == "online" && s["pid"] != after["pid"]);
    assert_eq!(last["instances"].as_array().map(Vec::len), Some(1), "{last:#}");
    assert_eq!(processes(&bed, &slow, &last), [pid(&last)]);

    // By now the loop had time for its next try.
    let stopped = bed.status(&looping);
    assert_eq!((&stopped["state"], &stopped["pid"]), (&"stopped".into(), &Value::Null));
    assert_eq!(events(&bed, &looping, "started").len(), starts);
    bed.end();
}

/// Processes, cgroups, mounts and descriptors of a bed, to compare.
fn traces(bed: &Bed) -> (Vec<String>, Vec<PathBuf>, usize, usize) {
    let mut groups = Vec::new();
    let mut open = bed.groups();
    while let Some(folder) = open.pop() {
        let inside = fs::read_dir(&folder).expect("it is there").flatten();
        open.extend(inside.map(|entry| entry.path()).filter(|path| path.is_dir()));
        groups.push(folder);
    }
    groups.sort();
    let daemon = bed.daemon_pid();
    let mounts = fs::read_to_string(format!("/proc/{daemon}/mountinfo")).expect("it lives");
    let descriptors = descriptors(daemon.into());
    (processes_of(bed.root()), groups, mounts.lines().count(), descriptors)
}

/// Whether the runner has let go of all monitors: of one that is dead it has a descriptor until it is reaped.
fn has_reaped(bed: &Bed) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", bed.daemon_pid())).expect("it lives");
    let mut targets = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    !targets.any(|target| target.to_string_lossy().contains("pidfd"))
}

#[test]
fn stops_starts_and_restarts_in_a_row_leave_nothing() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    let rounds = if is_guest() { 3 } else { 10 };
    // The first round makes what stays: the group of all environments.
    bed.start(&app);
    bed.ok(&["stop", &app.name]);
    // A process that is dead and not reaped yet is still listed for a moment.
    kernel::until("only the runner is left", || traces(&bed).0.is_empty() && has_reaped(&bed));
    let before = traces(&bed);
    for _ in 0..rounds {
        bed.start(&app);
        assert_eq!(get(app.port, "/").expect("it serves"), "ok");
        assert!(traces(&bed).0.len() >= 3, "monitor, init and app would be seen");
        assert!(!has_reaped(&bed), "the monitor's descriptor would be seen");
        bed.ok(&["stop", &app.name]);
    }
    kernel::until("no process is left", || traces(&bed).0.is_empty() && has_reaped(&bed));
    assert_eq!(traces(&bed), before);
    let wall = Wall::find(&bed.root().join("run/swrun/wall")).expect("ports are guarded");
    kernel::until("no ring of refusals is left", || {
        wall.left_rings().expect("readable").is_empty()
    });
    // Also when nobody waits for the end.
    bed.start(&app);
    bed.ok(&["stop", "--no-wait", &app.name]);
    bed.until(&app, "it stops", |s| s["state"] == "stopped");
    kernel::until("all of it goes", || traces(&bed) == before);

    let monitor = bed.start(&app)["monitor_pid"].as_i64().expect("known");
    // One restart, so that what is opened once is open.
    bed.ok(&["restart", &app.name]);
    // An answer of the monitor comes after all that it had to do, the place of the next included.
    bed.status(&app);
    let (open, groups) = (descriptors(monitor), traces(&bed).1.len());
    for _ in 0..rounds {
        bed.ok(&["restart", &app.name]);
    }
    let status = bed.status(&app);
    assert_eq!(status["monitor_pid"], monitor, "the same monitor all along");
    let folder = kernel::app_folder(&bed, &app, "unified");
    kernel::until("one instance is left, and the empty place of the next", || {
        let inside = fs::read_dir(&folder).expect("it is there").flatten();
        let inside: BTreeSet<PathBuf> = inside.map(|e| e.path()).filter(|p| p.is_dir()).collect();
        let groups = [0, 1].map(|ahead| folder.join((instance(&status) + ahead).to_string()));
        inside == groups.clone().into() && kernel::read(&groups[1].join("cgroup.procs")).is_empty()
    });
    kernel::until("no descriptor is left", || descriptors(monitor) == open);
    kernel::until("no group is left", || traces(&bed).1.len() == groups);
    bed.end();
}

/// `swrun logs` that follows, its lines as they come.
struct Follower(Child, mpsc::Receiver<String>);

impl Follower {
    fn new(bed: &Bed, arguments: &[&str]) -> Self {
        let mut child = Command::new(bed::swrun())
            .arg("logs")
            .args(arguments)
            .env("SWRUN_ROOT", bed.root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program under test");
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self(child, lines)
    }

    /// The next line that ends so.
    #[track_caller]
    fn until(&self, end: &str) {
        loop {
            let line = self.1.recv_timeout(patience()).unwrap_or_else(|e| panic!("{end:?}: {e}"));
            if line.ends_with(end) {
                return;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_an_app_says_is_kept_apart_whole_and_can_be_followed() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "[restart]\nfirst-delay = \"1ms\"\n");
    let first = bed.start(&app);
    get(app.port, "/out?lines=20").expect("it answers");
    get(app.port, "/err?lines=5").expect("it answers");
    kernel::until("all is written", || {
        bed.log(&app, "out.log").iter().any(|line| line == "out 20")
            && bed.log(&app, "err.log").len() == 5
    });
    assert!(bed.log(&app, "out.log").iter().all(|line| !line.starts_with("err")));
    assert_eq!(bed.log(&app, "err.log"), ["err 1", "err 2", "err 3", "err 4", "err 5"]);

    let shown = |arguments: &[&str]| -> Vec<String> {
        let text = bed.ok(&[&["logs", &app.name, "--nostream"], arguments].concat());
        text.lines().map(str::to_owned).collect()
    };
    let ends = |lines: Vec<String>, expected: &[&str]| {
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        assert!(lines.iter().zip(expected).all(|(line, end)| line.ends_with(end)), "{lines:?}");
    };
    ends(shown(&["-n", "3", "--out"]), &["out 18", "out 19", "out 20"]);
    ends(shown(&["-n", "2", "--err"]), &["err 4", "err 5"]);
    ends(shown(&["-n", "3"]), &["err 3", "err 4", "err 5"]);

    // Follows across a restart; the last line of the dead one has no end and is kept.
    let follower = Follower::new(&bed, &[&app.name, "-n", "1", "--out"]);
    follower.until("out 20");
    let _ = get(app.port, "/partial");
    follower.until("a line without an end");
    let second = bed.until(&app, "a restart", |s| s["state"] == "online" && s["restarts"] == 1);
    assert_ne!(second["pid"], first["pid"]);
    get(app.port, "/out?lines=1").expect("it answers");
    follower.until("out 1");
    drop(follower);
    bed.end();
}
