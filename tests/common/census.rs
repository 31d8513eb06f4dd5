//! Counts what runs for a bed: one monitor, one init and one app for each environment that is wanted,
//! and nothing besides. `#[path = "common/census.rs"] mod census;` beside `mod bed;`.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Bed, patience, texts};

/// A process that belongs to the bed: by its cgroup, its command line, or its `SWRUN_ROOT`.
#[derive(Debug)]
struct Process {
    command: String,
    /// Its path in the tree that decides membership, below the bed's group; none outside of it.
    place: Option<String>,
    parent: u32,
    is_zombie: bool,
}

/// `status --json`, whole.
pub fn document(bed: &Bed) -> Result<Value, String> {
    let output = bed.swrun(&["status", "--json"]);
    serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {:?}", texts(&output)))
}

/// Waits until every environment is as it is wanted, with exactly its processes and cgroups; tells the
/// status as it is then.
#[track_caller]
pub fn settle(bed: &Bed) -> Value {
    let deadline = Instant::now() + patience();
    loop {
        let found = problems(bed);
        match found {
            Ok(document) => return document,
            Err(problems) => assert!(
                Instant::now() < deadline,
                "not settled:\n{}\n{}",
                problems.join("\n"),
                bed.daemon_log()
            ),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The status if all is well, else what is not.
pub fn problems(bed: &Bed) -> Result<Value, Vec<String>> {
    let document = document(bed).map_err(|text| vec![text])?;
    let mut problems = Vec::new();
    let mut expected: BTreeSet<u32> = [bed.daemon_pid()].into();
    let mut instances: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let processes = processes(bed);
    for environment in document["environments"].as_array().into_iter().flatten() {
        let name = environment["name"].as_str().expect("a name").to_owned();
        if environment["wanted"] != environment["state"] {
            problems.push(format!(
                "{name}: wanted {}, is {} ({})",
                environment["wanted"], environment["state"], environment["reason"]
            ));
            continue;
        }
        let live = environment["instances"].as_array().expect("a list");
        let is_online = environment["wanted"] == "online";
        if live.len() != usize::from(is_online) {
            problems.push(format!("{name}: {} instances", live.len()));
        }
        let ids = live.iter().map(|instance| instance["id"].to_string()).collect();
        instances.insert(name.clone(), ids);
        let mut pids = vec![("monitor", environment["monitor_pid"].clone())];
        for instance in live {
            pids.push(("init", instance["init_pid"].clone()));
            pids.push(("app", instance["pid"].clone()));
        }
        for (role, pid) in pids.into_iter().filter(|_| is_online) {
            let place = match role {
                "app" => format!("{name}/app/{}", live[0]["id"]),
                role => format!("{name}/{role}"),
            };
            let pid = pid.as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
            match processes.get(&pid).and_then(|process| process.place.clone()) {
                Some(found) if found == place => drop(expected.insert(pid)),
                found => problems.push(format!("{name}: {role} {pid} is in {found:?}")),
            }
        }
    }
    for (pid, process) in &processes {
        if process.is_zombie {
            if expected.contains(&process.parent) {
                problems.push(format!("{pid} is a zombie of {}", process.parent));
            }
        } else if !expected.contains(pid) {
            problems.push(format!("{pid} is a stray: {process:?}"));
        }
    }
    problems.extend(stray_groups(bed, &instances));
    if problems.is_empty() { Ok(document) } else { Err(problems) }
}

/// Cgroups of instances that are not live, in any hierarchy; for a stopped environment any at all. That
/// of the next instance may be there already, and nobody in it.
fn stray_groups(bed: &Bed, instances: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut strays = Vec::new();
    for base in bed.groups() {
        for environment in folders(&base) {
            let name = name_of(&environment);
            let live = instances.get(&name).cloned().unwrap_or_default();
            if live.is_empty() {
                strays.push(format!("{name} is stopped, and has {}", environment.display()));
            }
            let newest = live.iter().filter_map(|id| id.parse::<u32>().ok()).max();
            let next = newest.map(|id| (id + 1).to_string()).unwrap_or_default();
            let of_instances = folders(&environment.join("app")).into_iter();
            let dead = of_instances.filter(|group| {
                let is_next = name_of(group) == next && is_empty(group);
                !live.contains(&name_of(group)) && !is_next
            });
            strays.extend(dead.map(|group| format!("{name}: {} is left", group.display())));
        }
    }
    strays
}

fn is_empty(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty())
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("a folder below").to_string_lossy().into_owned()
}

/// All processes of the bed, this test's own apart.
fn processes(bed: &Bed) -> BTreeMap<u32, Process> {
    let root = bed.root().to_str().expect("a plain path").to_owned();
    let base = fs::read_to_string(bed.root().join("run/swrun/cgroup")).unwrap_or_default();
    let base = format!("/{}/", base.trim().trim_matches('/'));
    let pids = fs::read_dir("/proc").expect("there").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let known = pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).ok();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        // proc_pid_stat(5): the name may hold anything, the state follows its last parenthesis.
        let stat = text(read("stat")?);
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let (state, parent) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
        let command = text(read("cmdline")?).replace('\0', " ");
        let groups = text(read("cgroup")?);
        let unified = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let place = unified.split_once(&base).map(|(_, place)| place.to_owned());
        let asks_for = format!("SWRUN_ROOT={root}");
        let is_of_bed = place.is_some()
            || groups.contains(&base)
            || command.contains(&root)
            || text(read("environ").unwrap_or_default()).split('\0').any(|v| v == asks_for);
        let is_zombie = state == "Z" || state == "X";
        (is_of_bed || is_zombie).then_some((pid, Process { command, place, parent, is_zombie }))
    });
    known.collect()
}

/// The pids of the bed's environments that are online, as [`settle`] told them: `name -> (monitor, init, app)`.
pub fn pids(document: &Value) -> BTreeMap<String, [i32; 3]> {
    let pid = |value: &Value| value.as_i64().and_then(|pid| i32::try_from(pid).ok());
    let environments = document["environments"].as_array().into_iter().flatten();
    let online = environments.filter_map(|environment| {
        let instance = environment["instances"].get(0)?;
        let pids = [&environment["monitor_pid"], &instance["init_pid"], &instance["pid"]];
        let pids = pids.map(pid);
        Some((environment["name"].as_str()?.to_owned(), [pids[0]?, pids[1]?, pids[2]?]))
    });
    online.collect()
}
