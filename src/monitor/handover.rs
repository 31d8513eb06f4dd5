//! Another version of this program takes this process's place: the same process to the kernel, so that init is
//! its child still and the app notices nothing. What it has to know, and every descriptor that it has to keep, goes
//! over the exec in a memory file; a trial run of the new program looks at it first.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::control::{self, Client};
use super::instance::Running;
use super::listeners;
use super::logs;
use super::measure::Samples;
use super::notices::Telling;
use super::ready::{self, Words};
use super::run::Monitor;
use crate::cgroup::Counters;
use crate::lifecycle::{Environment, Event};
use crate::model::{EnvName, EnvSpec, EventKind, LastExit, Notice, Places};
use crate::ports::Wall;
use crate::sys::trace::Trace;
use crate::sys::{command, passed};
use crate::wire::keep::{ReloadFailed, Reply};

/// The version of what is handed over; a program with another refuses, and the old one goes on.
const SCHEMA: u32 = 1;

/// The longest of it, in bytes.
const LONGEST: u64 = 16 << 20;

/// How long the trial run may take.
const TRIED_WITHIN: Duration = Duration::from_secs(3);

/// What a monitor hands over. Descriptors are numbers, the same on both sides of the exec.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The version of the program that wrote it, for the journal.
    from: String,
    name: EnvName,
    pub base: PathBuf,
    /// As it runs: the file may be of the next restart.
    pub spec: EnvSpec,
    /// The lock that makes this the only monitor of the environment.
    lock: RawFd,
    pub environment: Environment,
    running: BTreeMap<u32, RunningState>,
    /// Taken first of all.
    pub control: Option<control::State>,
    listeners: listeners::State,
    /// What keeps the wall up meanwhile, where this is the last that has it open.
    wall: Vec<RawFd>,
    logs: logs::State,
    samples: Samples,
    told: BTreeSet<u64>,
    last_exit: Option<LastExit>,
    ends: u64,
    holds: bool,
    reloads: u64,
    reload_failed: Option<ReloadFailed>,
    /// What nobody was told of yet.
    #[serde(default)]
    untold: Vec<Notice>,
    /// Who asked for it, and the number of the call.
    asked: (Client, u64),
}

/// One running instance.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunningState {
    launched: Duration,
    init_pid: i32,
    init: RawFd,
    mounts: Option<RawFd>,
    report: Option<RawFd>,
    app: Option<RawFd>,
    calls: Option<RawFd>,
    #[serde(default)]
    says: Option<RawFd>,
    #[serde(default)]
    words: ready::State,
    app_pid: Option<i32>,
    out: Option<logs::CaptureState>,
    err: Option<logs::CaptureState>,
    next_look: Option<(Duration, Duration)>,
    missing_ports: Vec<u16>,
    breached: bool,
}

/// What is read, and nothing is opened yet.
#[derive(Debug, Deserialize)]
struct Version {
    schema: u32,
}

/// The whole of it; every version's begins with `schema`.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    schema: u32,
    state: State,
}

/// Reads what was handed over. It has the values of variables: closed, it is gone.
///
/// # Errors
/// It is of another version, or not understood.
pub fn read(mut memory: File) -> Result<State, String> {
    let failed = |error: io::Error| format!("could not read what was handed over: {error}");
    memory.rewind().map_err(failed)?;
    let mut bytes = Vec::new();
    memory.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    let version: Version = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
    if version.schema != SCHEMA {
        return Err(format!(
            "what is handed over has version {}, and this program takes over version {SCHEMA}",
            version.schema
        ));
    }
    let document: Document = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
    Ok(document.state)
}

impl State {
    /// The environment.
    #[must_use]
    pub fn name(&self) -> &EnvName {
        &self.name
    }

    /// Whether the wall can be found, if it was.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn try_wall(&self, places: &Places) -> Result<(), String> {
        match self.wall.is_empty() || Wall::find(&places.wall()).is_ok() {
            true => Ok(()),
            false => Err("the wall of ports is not found by it".to_owned()),
        }
    }

    /// The lock; to be taken once, first of all.
    ///
    /// # Errors
    /// It is not open.
    pub fn take_lock(&self) -> io::Result<File> {
        one(self.lock).map(File::from)
    }
}

/// Takes a descriptor that came over the exec.
pub fn one(number: RawFd) -> io::Result<OwnedFd> {
    passed::take(&[number])?.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The same, where there was one.
pub fn maybe(number: Option<RawFd>) -> io::Result<Option<OwnedFd>> {
    number.map(one).transpose()
}

impl Monitor {
    /// Whether nothing is under way that could not be handed over: an app on its way to its exec, a trial start, a
    /// reload, the removal of what is dead.
    fn is_quiet(&self) -> bool {
        let is_settled = |running: &Running| {
            running.app.is_some() && running.end.is_none() && running.failure.is_none()
        };
        self.rehearsal.is_none()
            && self.garbage.is_empty()
            && self.pending.is_empty()
            && !self.environment.is_reloading()
            && self.running.values().all(is_settled)
    }

    /// Lets `program` take this process's place as soon as nothing is under way.
    pub(super) fn hand_over_soon(&mut self, program: Option<OwnedFd>, client: Client, call: u64) {
        match program {
            Some(_) if self.is_ending => {
                self.not_upgraded(client, call, "the environment is being stopped")
            }
            Some(program) => {
                if let Some((_, client, call)) = self.heir.replace((program, client, call)) {
                    self.not_upgraded(client, call, "another upgrade was ordered");
                }
            }
            None => self.not_upgraded(client, call, "no program was handed over"),
        }
    }

    fn not_upgraded(&mut self, client: Client, call: u64, text: &str) {
        self.control.reply(client, call, Reply::Failed(text.to_owned()));
    }

    /// Does it, if it is ordered and can be done now; returns only where it was not done.
    pub(super) fn hand_over_if_quiet(&mut self) {
        if self.heir.is_none() || self.is_ending || !self.is_quiet() {
            return;
        }
        let Some((program, client, call)) = self.heir.take() else { return };
        let Err(why) = self.hand_over(&program, client, call);
        self.write_event(None, EventKind::Warning { text: format!("not upgraded: {why}") });
        self.not_upgraded(client, call, &why);
    }

    fn hand_over(
        &mut self,
        program: &OwnedFd,
        client: Client,
        call: u64,
    ) -> Result<std::convert::Infallible, String> {
        let failed = |what: &str, error: io::Error| format!("could not {what}: {error}");
        // What is not worth handing over.
        self.logs.end_packer();
        self.interrupt_telling();
        self.starter.discard(self.driver.as_ref(), &self.base);
        self.take_refusals();
        for event in self.refusals.take_all() {
            self.write_event(None, event);
        }
        let mut kept = Vec::new();
        let state = self.state((client, call), &mut kept);
        let mut memory = rustix::fs::memfd_create("swrun-handover", MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(|error| failed("make a memory file", error.into()))?;
        let document = Document { schema: SCHEMA, state };
        serde_json::to_vec(&document)
            .map_err(io::Error::from)
            .and_then(|bytes| memory.write_all(&bytes))
            .map_err(|error| failed("write what is to be handed over", error))?;
        let words = |last: &str| -> Vec<String> {
            let mut words = vec!["__monitor".to_owned(), self.name.to_string()];
            let root = self.places.root().to_string_lossy().into_owned();
            words.extend(["--root".to_owned(), root, last.to_owned()]);
            words.push(memory.as_raw_fd().to_string());
            words
        };
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        let trial = words("--try");
        let trial: Vec<&str> = trial.iter().map(String::as_str).collect();
        command::run_with_within(&path, &trial, &[memory.as_fd()], TRIED_WITHIN)
            .map_err(|error| format!("the new program cannot take over: {error}"))?;
        // Only now what goes over is let go of.
        kept.push(memory.as_raw_fd());
        let kept: Vec<BorrowedFd<'_>> = self.borrowed(&kept, &memory);
        let flags = |flags: FdFlags| {
            kept.iter().try_for_each(|descriptor| rustix::io::fcntl_setfd(descriptor, flags))
        };
        flags(FdFlags::empty()).map_err(|error| failed("keep the descriptors", error.into()))?;
        let error = execute(&path, &words("--handover"));
        // Nobody else is to get them.
        let _ = flags(FdFlags::CLOEXEC);
        Err(failed("execute the new program", error))
    }

    /// The descriptors of these numbers, all of which this monitor or `memory` owns.
    fn borrowed<'a>(&'a self, numbers: &[RawFd], memory: &'a File) -> Vec<BorrowedFd<'a>> {
        let own = self.descriptors();
        let all = own.into_iter().chain([memory.as_fd(), self.lock.as_fd()]);
        all.filter(|descriptor| numbers.contains(&descriptor.as_raw_fd())).collect()
    }

    /// All that could be handed over.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.control.listener().as_fd()];
        all.extend(self.control.clients().map(|client| client.as_fd()));
        all.extend(self.listeners.sockets().map(|(_, socket)| socket));
        all.extend(self.tenant.iter().flat_map(|tenant| tenant.wall().links()));
        for running in self.running.values() {
            let optional =
                [&running.mounts, &running.report, &running.app, &running.calls, &running.says];
            all.push(running.init.as_fd());
            all.extend(optional.into_iter().flatten().map(|descriptor| descriptor.as_fd()));
            let captures = [&running.out, &running.err];
            all.extend(captures.into_iter().flatten().map(|capture| capture.as_fd()));
        }
        all
    }

    fn state(&self, asked: (Client, u64), kept: &mut Vec<RawFd>) -> State {
        let mut number = |descriptor: BorrowedFd<'_>| -> RawFd {
            kept.push(descriptor.as_raw_fd());
            descriptor.as_raw_fd()
        };
        let mut running = BTreeMap::new();
        for (id, instance) in &self.running {
            let mut maybe =
                |descriptor: &Option<OwnedFd>| descriptor.as_ref().map(|d| number(d.as_fd()));
            let (mounts, report) = (maybe(&instance.mounts), maybe(&instance.report));
            let (app, calls) = (maybe(&instance.app), maybe(&instance.calls));
            let says = maybe(&instance.says);
            let mut capture = |capture: &Option<logs::Capture>| {
                capture.as_ref().map(|capture| capture.state(&mut number))
            };
            let (out, err) = (capture(&instance.out), capture(&instance.err));
            let state = RunningState {
                launched: instance.launched,
                init_pid: instance.init_pid,
                init: number(instance.init.as_fd()),
                mounts,
                report,
                app,
                calls,
                says,
                words: instance.words.state(),
                app_pid: instance.app_pid,
                out,
                err,
                next_look: instance.next_look,
                missing_ports: instance.missing_ports.clone(),
                breached: instance.breached,
            };
            running.insert(*id, state);
        }
        State {
            from: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.name.clone(),
            base: self.base.clone(),
            spec: self.spec.clone(),
            lock: number(self.lock.as_fd()),
            environment: self.environment.clone(),
            running,
            control: Some(self.control.state(&mut number)),
            listeners: self.listeners.state(&mut number),
            wall: self
                .tenant
                .iter()
                .flat_map(|tenant| tenant.wall().links())
                .map(&mut number)
                .collect(),
            logs: self.logs.state(),
            samples: self.samples.clone(),
            told: self.told.held().clone(),
            last_exit: self.last_exit.clone(),
            ends: self.ends,
            holds: self.holds,
            reloads: self.reloads,
            reload_failed: self.reload_failed.clone(),
            untold: self.telling.untold(),
            asked,
        }
    }

    /// Takes up, in the new program, what is left of `state` once the monitor is made of it.
    ///
    /// # Errors
    /// A descriptor is not there, or an instance cannot be watched.
    pub(super) fn take_over(&mut self, state: State) -> Result<(), String> {
        let State { from, running, listeners, told, asked, wall, .. } = state;
        let held: io::Result<Vec<OwnedFd>> = wall.into_iter().map(one).collect();
        let held = held.map_err(|e| format!("the wall of ports: {e}"))?;
        (self.last_exit, self.ends) = (state.last_exit, state.ends);
        (self.reloads, self.reload_failed) = (state.reloads, state.reload_failed);
        (self.holds, self.samples) = (state.holds, state.samples);
        self.logs.go_on(state.logs);
        self.telling = Telling::resume(state.untold);
        self.go_on_behind_wall();
        drop(held);
        let is_unified = self.driver.kind() == "unified";
        for (id, state) in running {
            let was_breached = state.breached;
            let (mut running, counters) =
                self.resume_instance(id, state).map_err(|e| format!("instance {id}: {e}"))?;
            // On v1 the kernel kills one process and leaves the rest to the monitor, which did not hear of it.
            let is_new = !is_unified && !was_breached && counters.is_breach();
            running.breached |= is_new;
            self.running.insert(id, running);
            if is_new {
                self.kill(id);
            }
        }
        self.listeners = listeners::Listeners::resume(listeners)
            .map_err(|e| format!("a listening socket: {e}"))?;
        self.told.go_on(told);
        if self.environment.is_blocked() {
            // Looked at anew.
            self.pending.push_back(Event::Unblocked);
        }
        self.samples.look_soon();
        self.keep_watching();
        self.look_at_readiness_of_all();
        self.write_event(None, EventKind::Upgraded { from });
        let (client, call) = asked;
        self.control.reply(client, call, Reply::Done);
        Ok(())
    }

    fn resume_instance(&self, id: u32, state: RunningState) -> io::Result<(Running, Counters)> {
        // Without it the end still tells, and the ceiling is the kernel's.
        let mut watch = self.driver.watch(&self.base, id, &self.spec.limits).ok();
        // What happened before is in the counters.
        let counters = watch.as_mut().map(|watch| watch.look()).unwrap_or_default();
        let running = Running {
            trace: Trace::begin("monitor"),
            launched: state.launched,
            init_pid: state.init_pid,
            init: one(state.init)?,
            mounts: maybe(state.mounts)?,
            report: maybe(state.report)?,
            app: maybe(state.app)?,
            calls: maybe(state.calls)?,
            says: maybe(state.says)?,
            words: Words::resume(state.words),
            app_pid: state.app_pid,
            watch,
            out: state.out.map(logs::Capture::resume).transpose()?,
            err: state.err.map(logs::Capture::resume).transpose()?,
            next_look: state.next_look,
            missing_ports: state.missing_ports,
            breached: state.breached,
            refused: Budget::default(),
            listened: Budget::default(),
            end: None,
            failure: None,
            soft_look: None,
            last_soft_look: Duration::ZERO,
        };
        Ok((running, counters))
    }
}

/// Executes with this process's own variables, but for those that tell of descriptors: they were taken once.
fn execute(path: &str, words: &[String]) -> io::Error {
    let arguments = std::iter::once("swrun").chain(words.iter().map(String::as_str));
    let tells_of_descriptors = |key: &OsStr| key.as_bytes().starts_with(b"LISTEN_");
    command::execute(path.as_ref(), arguments.map(OsStr::new), tells_of_descriptors, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(text: &str) -> Result<State, String> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        read(file)
    }

    #[test]
    fn what_another_version_hands_over_is_refused_with_its_number() {
        let other = handed("{\"schema\": 2, \"state\": {\"of\": \"another kind\"}}");
        assert!(other.is_err_and(|why| why.contains("version 2") && why.contains("version 1")));
        for damaged in ["", "{}", "{\"schema\": 1}", "{\"schema\": 1, \"state\": {}}"] {
            assert!(handed(damaged).is_err(), "{damaged}");
        }
    }
}
