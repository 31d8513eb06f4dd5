//! The status: what monitors say when they are asked, and of hundreds what they have told.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::entry::Entry;
use super::registry::Runner;
use super::targets::{saved_spec, target_of, understood_target};
use super::{glance, host};
use crate::formats::memory_file;
use crate::host::landlock_lacks;
use crate::model::{
    CpuStatus, EnvironmentStatus, LeakStatus, MemoryStatus, Phase, PidsStatus, PortStatus,
    RunnerStatus, STATUS_SCHEMA, StatusDocument, Wanted,
};
use crate::sys::clock;
use crate::wire::keep::{Full, Reply, Request};

/// How long a monitor may take to report; after that its numbers are unknown.
pub const REPORT_WITHIN: Duration = Duration::from_secs(1);

/// The most monitors that are woken for one status. Of more environments the others are shown as they were told last: each
/// change at once, figures as of the last sample. Another part is asked each time, so that one that hangs is found.
const MOST_ASKED: usize = 32;

/// Of the runner, the host and `entries`, sorted by name.
pub async fn status(runner: &Rc<Runner>, entries: Vec<Rc<Entry>>) -> StatusDocument {
    let (asked, told) = split(entries);
    let mut reports = JoinSet::new();
    for entry in asked {
        let runner = Rc::clone(runner);
        reports.spawn_local(async move { environment(&runner, &entry).await });
    }
    let now = clock::millis(clock::monotonic());
    let last_told = |entry: &Rc<Entry>| {
        let full = entry.standing.borrow().as_ref().map(|full| full.at(now));
        complete(runner, entry, full)
    };
    let mut environments: Vec<EnvironmentStatus> = told.iter().map(last_told).collect();
    environments.extend(reports.join_all().await);
    environments.sort_by(|a, b| a.name.cmp(&b.name));
    let landlock = crate::sys::landlock::version();
    let degraded = runner.walls.degraded().into_iter();
    let degraded = degraded.chain(landlock_lacks(landlock)).chain(runner.driver.degraded());
    StatusDocument {
        schema: STATUS_SCHEMA,
        runner: RunnerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: runner.since.elapsed().as_secs(),
            cgroup: runner.driver.kind().to_owned(),
            landlock,
            degraded: degraded.collect(),
        },
        host: host::status(),
        environments,
    }
}

/// Who is asked, and of whom it is known: of the latter the one that was asked longest ago is asked first.
fn split(entries: Vec<Rc<Entry>>) -> (Vec<Rc<Entry>>, Vec<Rc<Entry>>) {
    let (mut asked, mut told): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.connection().is_some());
    let is_told = |entry: &Rc<Entry>| entry.standing.borrow().is_some() && !entry.is_mute.get();
    asked.sort_by_key(|entry| (is_told(entry), entry.asked.get()));
    let unknown = asked.iter().filter(|entry| !is_told(entry)).count();
    told.extend(asked.split_off(asked.len().min(MOST_ASKED.max(unknown))));
    (asked, told)
}

async fn report(entry: &Rc<Entry>) -> Option<Full> {
    let link = entry.connection()?;
    entry.asked.set(Some(Instant::now()));
    let answer = tokio::time::timeout(REPORT_WITHIN, link.ask(Request::Report)).await;
    entry.is_mute.set(answer.is_err());
    match answer {
        Ok(Some(Reply::Report(full))) => Some(*full),
        _ => None,
    }
}

/// As its monitor says now.
pub async fn environment(runner: &Rc<Runner>, entry: &Rc<Entry>) -> EnvironmentStatus {
    let full = report(entry).await;
    complete(runner, entry, full)
}

/// With what the runner knows.
fn complete(runner: &Rc<Runner>, entry: &Rc<Entry>, full: Option<Full>) -> EnvironmentStatus {
    let (has_file, on_disk) = glance::look(entry);
    let digest_now = entry.known.borrow().as_ref().map(|known| known.digest.clone());
    let mut status = match full {
        Some(full) => {
            *entry.group.borrow_mut() = Some(full.cgroup);
            let mut status = full.status;
            let digest = on_disk.or(digest_now);
            status.changed = digest.is_some_and(|digest| digest != full.profile_digest);
            status
        }
        None => without_monitor(runner, entry),
    };
    status.wanted = *entry.wanted.borrow();
    status.no_profile = !has_file;
    status.target = status.target.or_else(|| understood_target(runner, entry));
    status
}

/// What is known of an environment that no monitor keeps, or whose monitor does not answer.
fn without_monitor(runner: &Rc<Runner>, entry: &Rc<Entry>) -> EnvironmentStatus {
    let view = entry.seen();
    let wanted = *entry.wanted.borrow();
    let spec = entry.known.borrow().as_ref().and_then(|known| known.spec.clone());
    let spec = spec.or_else(|| saved_spec(runner, &entry.name));
    // The keeper of one that has just died may not have said so yet.
    let is_there = view.is_connected && entry.connection().is_some_and(|link| link.is_open());
    let brief = view.brief.as_ref().filter(|_| is_there);
    let (state, reason) = match (brief, wanted) {
        (Some(brief), _) => (brief.phase, Some("its monitor does not answer".to_owned())),
        (None, Wanted::Stopped) => (Phase::Stopped, None),
        (None, Wanted::Online) if view.is_unit_stopped => {
            let text = format!(
                "its unit was stopped by systemctl; \"swrun start {}\" or a boot starts it",
                entry.name
            );
            (Phase::Stopped, Some(text))
        }
        (None, Wanted::Online) => match view.trouble {
            Some(why) => (Phase::Backoff, Some(why)),
            None => (Phase::Starting, Some("its monitor is being started".to_owned())),
        },
    };
    let limits = spec.as_ref().map(|spec| &spec.limits);
    let instances = spec.as_ref().map_or(1, |spec| u64::from(spec.instances));
    // What its last monitor left; none is the beginning.
    let left = memory_file::look(&runner.places.memory_of(&entry.name)).unwrap_or_default();
    let resting = if runner.walls.stands() { "reserved" } else { "closed" };
    EnvironmentStatus {
        name: entry.name.to_string(),
        target: target_of(runner, entry),
        user: spec.as_ref().map_or_else(|| "?".to_owned(), |spec| spec.identity.user.clone()),
        state,
        wanted,
        reason,
        pid: brief.and_then(|brief| brief.pid),
        monitor_pid: None,
        instances: Vec::new(),
        ports: spec
            .iter()
            .flat_map(|spec| &spec.ports)
            .map(|port| PortStatus {
                port: port.port,
                proto: port.proto,
                // Without a monitor nothing of it runs; else it is not known.
                state: brief.is_none().then(|| resting.to_owned()),
            })
            .collect(),
        blocked_by: None,
        restarts: brief.map_or(left.restarts, |brief| brief.restarts),
        unstable: 0,
        last_exit: left.last_exit,
        next_try_ms: None,
        uptime_s: None,
        memory: MemoryStatus {
            max: limits.map(|limits| limits.memory_max * instances),
            high: limits.and_then(|limits| limits.memory_high).map(|high| high * instances),
            ..MemoryStatus::default()
        },
        cpu: CpuStatus {
            limit_percent: limits.and_then(|limits| limits.cpu_percent).map(f64::from),
            ..CpuStatus::default()
        },
        pids: PidsStatus { current: None, max: limits.map(|limits| u64::from(limits.pids)) },
        leak: LeakStatus::unknown(),
        changed: false,
        no_profile: false,
        release: spec
            .filter(|spec| spec.deploy.is_some())
            .and_then(|_| runner.releases(&entry.name).in_use().cloned()),
    }
}
