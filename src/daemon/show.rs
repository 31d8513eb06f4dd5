//! All that is known of one environment, and what a command in its cage needs.

use std::path::Path;
use std::rc::Rc;

use super::answer::{hide_problems, refusal};
use super::entry::Entry;
use super::orders;
use super::registry::Runner;
use super::security::{self, Facts};
use super::status::{REPORT_WITHIN, environment};
use super::targets::saved_spec;
use crate::cgroup::MemoryKinds;
use crate::formats::journal;
use crate::model::{EnvSpec, Resources};
use crate::policy::access::Peer;
use crate::wire::ask::{Answer, ProcessLine, Refusal, ShowDocument};
use crate::wire::once::Ticket;

/// The most processes that `show` lists.
const MOST_PROCESSES: usize = 200;

/// What a command in the cage of an environment needs.
pub async fn ticket(runner: &Rc<Runner>, entries: Vec<Rc<Entry>>) -> Result<Answer, Refusal> {
    let entry = one(&entries)?;
    let failed = |text: String| refusal("failed", format!("\"{}\" {text}", entry.name));
    if !entry.seen().is_connected {
        // As a start would find it.
        orders::renew_spec(runner, entry, None).await.map_err(failed)?;
    }
    let spec = saved_spec(runner, &entry.name)
        .ok_or_else(|| failed("has no spec: it was never started".to_owned()))?;
    Ok(Answer::Exec(Box::new(ticket_of(runner, entry, spec))))
}

/// A command in the cage of an environment as `spec` has it, in the environment's own group where that runs.
pub fn ticket_of(runner: &Runner, entry: &Entry, spec: EnvSpec) -> Ticket {
    let is_new = !entry.seen().is_connected;
    let group = match is_new {
        true => runner.layout.group_of(&entry.name),
        false => Some(runner.layout.group(&entry.name)),
    };
    let places = &runner.places;
    let wall = runner.walls.stands().then(|| places.wall());
    let etc = (places.etc_of_cages(), places.monitor(&entry.name));
    Ticket { spec, group, is_new, wall, etc }
}

/// The only one.
pub fn one(entries: &[Rc<Entry>]) -> Result<&Rc<Entry>, Refusal> {
    match entries {
        [entry] => Ok(entry),
        _ => {
            let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
            let text = format!("that names several environments: {}", names.join(", "));
            Err(refusal("bad-request", text))
        }
    }
}

pub async fn show(
    runner: &Rc<Runner>,
    peer: &Peer,
    entries: Vec<Rc<Entry>>,
) -> Result<Answer, Refusal> {
    let entry = one(&entries)?;
    let mut status = environment(runner, entry).await;
    hide_problems(&mut status, peer);
    let mut spec = saved_spec(runner, &entry.name)
        .or_else(|| entry.known.borrow().as_ref().and_then(|known| known.spec.clone()));
    // Names may be shown, values never.
    let env_keys: Vec<String> = spec.iter().flat_map(|spec| spec.env.keys().cloned()).collect();
    if let Some(spec) = &mut spec {
        spec.env.clear();
    }
    let group = entry.group.borrow().clone();
    let pids = group
        .as_ref()
        .and_then(|group| runner.driver.processes(&group.join("app")).ok())
        .unwrap_or_default();
    let events = journal::last(&runner.places.journal(&entry.name), 10).map_err(|e| {
        refusal("failed", format!("could not read the journal of \"{}\": {e}", entry.name))
    })?;
    let is_unified = runner.driver.kind() == "unified";
    let facts = Facts::look(status.pid, runner.walls.stands(), is_unified);
    let security = spec.as_ref().map_or_else(Vec::new, |spec| security::judge(&facts, spec));
    Ok(Answer::Show(Box::new(ShowDocument {
        status,
        security,
        spec,
        env_keys,
        processes: processes(pids).await,
        resources: group.as_deref().map(|group| resources(runner, group)).unwrap_or_default(),
        cgroup: group.map(|group| group.to_string_lossy().into_owned()),
        events,
        logs: runner.places.logs(&entry.name),
    })))
}

/// Of all instances together.
fn resources(runner: &Runner, group: &Path) -> Resources {
    let driver = runner.driver.as_ref();
    let ids = driver.instances(group).unwrap_or_default();
    let kinds: Vec<MemoryKinds> = ids.iter().map(|id| driver.memory_kinds(group, *id)).collect();
    let MemoryKinds { file, shmem, kernel, .. } = MemoryKinds::total(&kinds);
    let [_, cpu_pressure, io_pressure] = driver.pressure(group);
    let io = driver.io(group);
    Resources {
        file,
        shmem,
        kernel,
        cpu_pressure,
        io_pressure,
        read: io.map(|io| io.0),
        written: io.map(|io| io.1),
    }
}

/// What an app's processes say of themselves; beside the runner's own thread and in bounded time, as
/// memory of theirs is read, and they may let the reader wait.
async fn processes(pids: Vec<i32>) -> Vec<ProcessLine> {
    let reading = tokio::task::spawn_blocking(move || {
        pids.into_iter().take(MOST_PROCESSES).filter_map(process).collect()
    });
    match tokio::time::timeout(REPORT_WITHIN, reading).await {
        Ok(Ok(lines)) => lines,
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

fn process(pid: i32) -> Option<ProcessLine> {
    let process = procfs::process::Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    let command = process.cmdline().unwrap_or_default().join(" ");
    let title: String = if command.is_empty() { stat.comm.clone() } else { command };
    Some(ProcessLine {
        pid,
        parent: stat.ppid,
        rss: Some(stat.rss * rustix::param::page_size() as u64),
        title: title.chars().take(200).collect(),
    })
}
