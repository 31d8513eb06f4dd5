//! What the kernel says of an environment of a bed: its cgroups in either layout, its processes.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use crate::bed::until;
use crate::bed::{App, Bed, is_unified, processes_of};

/// The group of an environment below every hierarchy's root.
fn group(bed: &Bed, app: &App) -> PathBuf {
    let text = fs::read_to_string(bed.root().join("run/swrun/cgroup")).expect("the runner runs");
    Path::new(text.trim().trim_start_matches('/')).join(&app.name)
}

/// Where a hierarchy is mounted: that of v1 `controller` on a hybrid host, else the v2 tree.
fn mount_of(controller: &str) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("readable");
    let has = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        if is_unified() || controller == "unified" {
            words[2] == "cgroup2"
        } else {
            words[2] == "cgroup" && words[3].split(',').any(|option| option == controller)
        }
    };
    let line = mounts.lines().find(has).unwrap_or_else(|| panic!("no hierarchy {controller}"));
    line.split(' ').nth(1).expect("a mount point").into()
}

/// `BASE/app` of an environment in the hierarchy of `controller`.
pub fn app_folder(bed: &Bed, app: &App, controller: &str) -> PathBuf {
    mount_of(controller).join(group(bed, app)).join("app")
}

/// The group of instance `id` in the hierarchy of `controller` (`memory`, or `unified` for the tree
/// that decides membership).
pub fn instance_folder(bed: &Bed, app: &App, controller: &str, id: i64) -> PathBuf {
    app_folder(bed, app, controller).join(id.to_string())
}

/// The text of a kernel's file.
#[track_caller]
pub fn read(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// The number in a kernel's file.
#[track_caller]
pub fn number(path: &Path) -> u64 {
    read(path).parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The number of the only instance.
#[track_caller]
pub fn instance(status: &Value) -> i64 {
    status["instances"][0]["id"].as_i64().unwrap_or_else(|| panic!("no instance: {status:#}"))
}

/// All processes of the only instance, as the host sees them.
#[track_caller]
pub fn processes(bed: &Bed, app: &App, status: &Value) -> Vec<i32> {
    let folder = instance_folder(bed, app, "unified", instance(status));
    let text = read(&folder.join("cgroup.procs"));
    text.lines().map(|line| line.parse().expect("a pid")).collect()
}

/// Whether a process lives: one that is dead and not reaped yet does not.
pub fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i64) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count()
}

/// Every event of a kind in the journal, oldest first.
pub fn events(bed: &Bed, app: &App, kind: &str) -> Vec<Value> {
    bed.events(app).into_iter().filter(|event| event["event"] == kind).collect()
}

/// A line of TOML that lets the app write its own home.
pub fn writable(app: &App) -> String {
    format!("writable = [\"{}\"]\n", app.home.display())
}

/// The pid of an environment's monitor.
#[track_caller]
pub fn monitor(bed: &Bed, app: &App) -> i32 {
    let title = format!("__monitor {} ", app.name);
    let found = processes_of(bed.root()).into_iter().find(|line| line.contains(&title));
    let line = found.unwrap_or_else(|| panic!("no monitor:\n{}", bed.daemon_log()));
    line.split(' ').next().expect("a pid").parse().expect("a pid")
}
