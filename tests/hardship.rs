//! A host that has nothing left to give: disks that are full or read-only, no descriptors, no processes, no memory.
//! Apps go on, what cannot be done is said, and when there is room again all goes on by itself.

mod bed;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/kernel.rs"]
mod kernel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bed::{App, Bed, is_guest, pid};
use disk::Disk;
use serde_json::Value;

const QUICK: &str = "[restart]\nfirst-delay = \"10ms\"\nmax-delay = \"100ms\"\n";

/// A bed with one environment online.
fn online() -> (Bed, App) {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, QUICK);
    bed.start(&app);
    (bed, app)
}

/// A bed whose state lies on a disk of its own, with one environment online.
fn with_disk() -> (Bed, App, Disk) {
    let bed = Bed::running();
    let app = bed.app("shop");
    // Before anything of the environment is there.
    let disk = Disk::new(bed.root().join("var/lib/swrun/env"), "256k");
    bed.probe(&app, QUICK);
    bed.start(&app);
    (bed, app, disk)
}

/// The app is killed, and is back as another process.
fn comes_back(bed: &Bed, app: &App) {
    let before = pid(&bed.status(app));
    bed::kill(before);
    bed.until(app, "another process is online", |status| {
        status["state"] == "online" && pid(status) != before
    });
}

#[test]
fn a_full_disk_under_the_state_touches_no_app_and_is_said() {
    let (bed, app, disk) = with_disk();
    let filler = bed.root().join("var/lib/swrun/env/filler");
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=1k", &format!("of={}", filler.display())])
        .output();
    let before = bed.status(&app)["restarts"].as_u64().expect("a number");
    comes_back(&bed, &app);
    comes_back(&bed, &app);
    let said = bed.daemon_log();
    assert!(said.contains("could not save its counts"), "{said}");
    // An order that has nowhere to be written down is refused, or done; never half.
    let stopped = bed.swrun(&["restart", "shop"]);
    let (_, why) = bed::texts(&stopped);
    assert!(stopped.status.success() || why.contains("No space left on device"), "{why}");
    bed.until(&app, "it is online", |status| status["state"] == "online");
    fs::remove_file(&filler).expect("ours");
    comes_back(&bed, &app);
    assert_eq!(bed.status(&app)["restarts"], before + 3);
    // What is counted is on the disk again.
    bed::kill(kernel::monitor(&bed, &app));
    bed.until(&app, "its next monitor knows the count", |status| {
        status["state"] == "online" && status["restarts"].as_u64() >= Some(before + 3)
    });
    bed.ok(&["stop", "shop"]);
    drop(disk);
    bed.end();
}

#[test]
fn a_read_only_state_touches_no_app_and_orders_say_so() {
    let mut bed = Bed::new();
    let disk = Disk::new(bed.root().join("var/lib/swrun"), "1M");
    bed.daemon();
    let app = bed.app("shop");
    bed.probe(&app, QUICK);
    bed.start(&app);
    disk.set_read_only(true);
    comes_back(&bed, &app);
    let refused = bed.fails(1, &["stop", "shop"]);
    assert!(refused.contains("Read-only file system"), "{refused}");
    assert_eq!(bed.status(&app)["state"], "online");
    // The runner too may die meanwhile: the next one finds all as it was.
    let before = pid(&bed.status(&app));
    bed.kill_daemon();
    bed.daemon();
    bed.until(&app, "it is as before", |status| status["state"] == "online");
    assert_eq!(pid(&bed.status(&app)), before);
    disk.set_read_only(false);
    bed.ok(&["stop", "shop"]);
    assert_eq!(bed.status(&app)["state"], "stopped");
    drop(disk);
    bed.end();
}

/// Says why it does not start. The journal may be out of reach as well.
fn is_told(bed: &Bed, app: &App, why: &str) {
    let told = |status: &Value| status["reason"].as_str().is_some_and(|text| text.contains(why));
    bed.until(app, "it is told why it does not start", told);
}

/// prlimit(1): so many descriptors a process may have.
fn limit_descriptors(pid: i64, limit: usize) {
    let words = [format!("--pid={pid}"), format!("--nofile={limit}:")];
    let done = Command::new("prlimit").args(words).status();
    assert!(done.is_ok_and(|status| status.success()), "prlimit");
}

#[test]
fn without_a_descriptor_left_a_start_waits_and_callers_too() {
    let (bed, app) = online();
    let monitor = i64::from(kernel::monitor(&bed, &app));
    // It has nearly thirty, and waits for ten of them: poll(2) takes no more than the limit.
    limit_descriptors(monitor, 16);
    let before = pid(&bed.status(&app));
    bed::kill(before);
    is_told(&bed, &app, "Too many open files");
    assert_eq!(i64::from(kernel::monitor(&bed, &app)), monitor);
    limit_descriptors(monitor, 1024);
    bed.until(&app, "it starts by itself", |status| status["state"] == "online");
    // What was half made is gone: that of the instance is there, and the next one's.
    let app_groups = || {
        let folders = bed.groups().into_iter().map(|group| group.join("shop/app"));
        folders
            .filter_map(|folder| fs::read_dir(folder).ok())
            .map(|entries| entries.flatten().filter(|entry| entry.path().is_dir()).count())
            .max()
    };
    kernel::until("no group is left over", || app_groups().is_some_and(|count| count <= 2));

    let runner = i64::from(bed.daemon_pid());
    limit_descriptors(runner, 8);
    let refused = bed.swrun(&["status", "--json"]);
    assert!(!refused.status.success());
    limit_descriptors(runner, 1024);
    bed.until(&app, "the runner answers again", |status| status["state"] == "online");
    assert_eq!(i64::from(bed.daemon_pid()), runner);
    bed.ok(&["stop", "shop"]);
    bed.end();
}

/// A group of the pids controller (v1) around a monitor: it may fork no more.
struct Pids(PathBuf);

impl Pids {
    fn around(pid: i32) -> Option<Self> {
        let folder = Path::new("/sys/fs/cgroup/pids").join(format!("swrun-test-{pid}"));
        fs::create_dir(&folder).ok()?;
        let pids = Self(folder);
        fs::write(pids.0.join("cgroup.procs"), pid.to_string()).expect("root may");
        Some(pids)
    }

    fn set(&self, most: &str) {
        fs::write(self.0.join("pids.max"), most).expect("root may");
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        let root = Path::new("/sys/fs/cgroup/pids/cgroup.procs");
        for pid in fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(root, pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn without_a_process_left_a_start_waits() {
    let (bed, app) = online();
    let monitor = kernel::monitor(&bed, &app);
    let Some(pids) = Pids::around(monitor) else {
        println!("skipped: there is no pids controller on v1");
        bed.end();
        return;
    };
    pids.set("1");
    let before = pid(&bed.status(&app));
    bed::kill(before);
    is_told(&bed, &app, "Resource temporarily unavailable");
    let status = bed.status(&app);
    assert_ne!(status["state"], "online", "{status:#}");
    pids.set("max");
    bed.until(&app, "it starts by itself", |status| status["state"] == "online");
    assert_eq!(kernel::monitor(&bed, &app), monitor);
    bed.ok(&["stop", "shop"]);
    drop(pids);
    bed.end();
}

/// proc_pid_oom_score_adj(5).
fn score(pid: i64) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it lives");
    text.trim().parse().expect("a number")
}

#[test]
fn an_app_goes_before_what_keeps_it_when_memory_is_short() {
    let (bed, app) = online();
    assert_eq!(score(i64::from(pid(&bed.status(&app)))), 0);
    let keepers = [i64::from(bed.daemon_pid()), i64::from(kernel::monitor(&bed, &app))];
    // Without the capability, as on a machine that has it taken from root, they are as any other.
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line");
    let held = u64::from_str_radix(held.trim(), 16).expect("a number");
    let wanted = if held >> 24 & 1 == 1 || is_guest() { -900 } else { 0 };
    for keeper in keepers {
        assert_eq!(score(keeper), wanted);
    }
    bed.ok(&["stop", "shop"]);
    bed.end();
}
