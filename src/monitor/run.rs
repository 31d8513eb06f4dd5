//! The loop of a monitor: wait for the kernel, turn what it says into events, step, act.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use sd_notify::NotifyState;

use super::blocked::Blocked;
use super::changes::Changes;
use super::control::{Client, Control};
use super::cron::Cron;
use super::holder::Told;
use super::instance::{Remains, Running};
use super::listeners::Listeners;
use super::logs::{Logs, Output};
use super::make::GROUPS;
use super::measure::Samples;
use super::notices::Telling;
use super::past::Past;
use super::probe::Probe;
use super::refusals::Refusals;
use super::start::Starter;
use crate::cgroup::Driver;
use crate::formats::memory_file::{self, Memory};
use crate::lifecycle::{Environment, Event, Rules};
use crate::model::{EnvName, EnvSpec, LastExit, Places, WatchRules};
use crate::ports::Tenant;
use crate::sys::trace::Trace;
use crate::sys::{clock, memory};
use crate::wire::keep::ReloadFailed;

/// The number of a rehearsal's cgroup; instances count from 1.
pub(super) const REHEARSAL: u32 = 0;

/// A restart that was asked for and is being tried out before anything is torn down.
#[derive(Debug)]
pub(super) struct Rehearsal {
    pub running: Running,
    pub spec: EnvSpec,
    pub succeeded: bool,
    /// Who asked, and the number of the call.
    pub client: Client,
    pub call: u64,
    /// What follows when it worked.
    pub then: Event,
}

/// Everything that a monitor has.
#[derive(Debug)]
pub struct Monitor {
    pub(super) name: EnvName,
    pub(super) places: Places,
    pub(super) spec: EnvSpec,
    pub(super) base: PathBuf,
    pub(super) driver: Box<dyn Driver>,
    /// Makes this the only monitor of the environment.
    pub(super) lock: File,
    /// A program that is to take this one's place, and who asked for it.
    pub(super) heir: Option<(OwnedFd, Client, u64)>,
    pub(super) starter: Starter,
    /// Where the time of the last start went, before the instance's own.
    pub(super) trace: Trace,
    pub(super) environment: Environment,
    pub(super) running: BTreeMap<u32, Running>,
    pub(super) rehearsal: Option<Rehearsal>,
    pub(super) control: Control,
    pub(super) logs: Logs,
    pub(super) samples: Samples,
    pub(super) past: Past,
    pub(super) telling: Telling,
    pub(super) last_exit: Option<LastExit>,
    pub(super) ends: u64,
    /// Events that arose while acting; they come before the next wait.
    pub(super) pending: VecDeque<Event>,
    /// Instances whose end is decided and whose cgroup is still there.
    pub(super) garbage: Vec<Remains>,
    /// The memory file is to be written.
    pub(super) is_dirty: bool,
    /// The monitor ends once nothing runs any more.
    pub(super) is_ending: bool,
    /// The ports are walled, and this is the environment's place behind the wall.
    pub(super) tenant: Option<Tenant>,
    /// Whether listening sockets of its ports are held.
    pub(super) holds: bool,
    pub(super) listeners: Listeners,
    pub(super) refusals: Refusals,
    /// Who is in the way of a start.
    pub(super) blocked: Option<Blocked>,
    /// The health check of a reload.
    pub(super) probe: Option<Probe>,
    /// Those of instances that count as up once they have answered.
    pub(super) first_probes: Vec<Probe>,
    /// The sockets that the holders have.
    pub(super) told: Told,
    /// What the old instances of a reload run with.
    pub(super) spec_before: Option<EnvSpec>,
    /// How many reloads have ended, and why the last one failed.
    pub(super) reloads: u64,
    pub(super) reload_failed: Option<ReloadFailed>,
    pub(super) told_of_no_refusals: bool,
    /// The first of the starts since what waits for them was done last.
    pub(super) busy_since: Option<Duration>,
    /// Something was started, and what that took is not given back yet.
    pub(super) has_started: bool,
    /// The next restart at a set time.
    pub(super) cron: Option<Cron>,
    /// The files whose change restarts it.
    pub(super) changes: Option<Changes>,
    /// Rules by which they could not be watched.
    pub(super) watch_failed: Option<WatchRules>,
    pub(super) signals: SignalFd,
}

impl Monitor {
    /// Runs until it is asked to end and nothing is left; its connections are open still.
    ///
    /// # Errors
    /// poll(2) failed.
    pub(super) fn run(mut self) -> Result<Self, String> {
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let mut is_settled = false;
        loop {
            if !is_settled {
                self.settle();
                self.hand_over_if_quiet();
                if self.is_ending && self.environment.is_empty() && self.rehearsal.is_none() {
                    break;
                }
            }
            let woken = self.wait().map_err(|e| format!("could not wait for events: {e}"))?;
            is_settled = self.take(&woken);
        }
        self.logs.end_packer();
        self.end_telling();
        self.is_dirty = true;
        self.save();
        if let Some(tenant) = &mut self.tenant {
            tenant.leave();
        }
        for group in GROUPS {
            let _ = self.driver.remove(&self.base.join(group));
        }
        Ok(self)
    }

    /// Does what is due, until nothing is: then writes down and tells what changed.
    fn settle(&mut self) {
        // Where that failed before the first start, or another program was in this one's place.
        self.listen_to_refusals();
        // Only those that are there now: a start that fails at once and without a pause must leave
        // room for signals and orders.
        for _ in 0..self.pending.len() {
            if let Some(event) = self.pending.pop_front() {
                self.step(&event);
            }
        }
        self.look_at_cron();
        self.look_at_changes();
        self.step(&Event::Tick);
        self.keep_watching();
        self.retire_listeners();
        self.tell_holders();
        for event in self.refusals.due(clock::monotonic()) {
            self.write_event(None, event);
        }
        // A start would wait for the same locks of the kernel, and for a CPU.
        if self.busy_until().is_none() {
            self.busy_since = None;
            self.sample_if_due();
            self.collect_garbage();
            if self.is_dirty {
                self.save();
            }
            let brief = self.brief();
            if self.samples.take_news() || self.control.is_news(&brief) {
                let full = self.report();
                self.control.tell_standing(full);
            }
            self.control.tell(brief);
            if !self.is_ending {
                let next = self.environment.next_id();
                self.starter.prepare(self.driver.as_ref(), &self.base, &self.spec, next);
            }
            if std::mem::take(&mut self.has_started) {
                // What could not be watched may be there now.
                self.watch_failed = None;
                // As much as all else of a monitor; no harm where it fails.
                let _ = memory::give_back();
            }
        }
        for event in self.logs.settle(&self.spec.logs) {
            self.write_event(None, event);
        }
        // It forks: a start comes first.
        if self.busy_until().is_none() {
            self.tell_if_due();
        }
    }

    fn save(&mut self) {
        self.is_dirty = false;
        let memory = Memory {
            next_id: self.environment.next_id(),
            restarts: self.environment.restarts(),
            last_exit: self.last_exit.clone(),
            was_running: !(self.is_ending && self.environment.is_empty()),
            live: self.environment.instances().map(|(id, _)| id).collect(),
            rest: self.environment.rest_state().map(|(reason, gave_up)| memory_file::Rest {
                reason: reason.to_owned(),
                gave_up,
                boot: memory_file::this_boot(),
            }),
            ..Memory::default()
        };
        if let Err(error) = memory_file::write(&self.places.memory_of(&self.name), &memory) {
            eprintln!("swrun: monitor: {}: could not save its counts: {error}", self.name);
        }
    }

    /// Waits for the kernel or the next thing due; says which sources have something.
    fn wait(&mut self) -> io::Result<Vec<Source>> {
        let timeout = match self.next_due() {
            _ if !self.pending.is_empty() => PollTimeout::ZERO,
            Some(at) => timeout(at.saturating_sub(clock::monotonic())),
            None => PollTimeout::NONE,
        };
        let sources = self.sources();
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, descriptor, flags)| PollFd::new(*descriptor, *flags)).collect();
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let woken = |polled: &PollFd<'_>| polled.revents().is_some_and(|flags| !flags.is_empty());
        Ok(sources.iter().zip(&polled).filter(|(_, p)| woken(p)).map(|((s, ..), _)| *s).collect())
    }

    /// Until when a start has the machine to itself: what can wait a moment does, until it listens.
    fn busy_until(&self) -> Option<Duration> {
        let is_on_its_way = |running: &&Running| {
            launch_deadline(running).is_some() || !running.missing_ports.is_empty()
        };
        let launching = self.running.values().filter(is_on_its_way);
        let last = launching.map(|running| running.launched).max()?;
        // Of starts that follow one another, each dead before it listens, the first: mounts and groups would pile up.
        let end = self.busy_since.map_or(last, |first| first.min(last)) + UNDISTURBED;
        Some(end).filter(|end| *end > clock::monotonic())
    }

    fn next_due(&self) -> Option<Duration> {
        let now = clock::monotonic();
        let looks = self
            .running
            .values()
            .flat_map(|running| [running.next_look.map(|(at, _)| at), running.soft_look]);
        let rehearsal = self.rehearsal.iter().map(|rehearsal| &rehearsal.running);
        let launching = self.running.values().chain(rehearsal).filter_map(launch_deadline);
        looks
            .flatten()
            .chain(launching)
            .chain(self.environment.next_step())
            .chain(self.listeners.next_due())
            .chain(self.told.next_due(now))
            .chain(self.running.values().filter_map(|running| running.calls_rest_until(now)))
            .chain(self.running.values().filter_map(|running| running.words_rest_until(now)))
            .chain(self.running.values().flat_map(|running| {
                let captures = [(&running.out, Output::Out), (&running.err, Output::Err)];
                captures.into_iter().filter_map(|(capture, output)| {
                    self.logs.rests_until(capture.as_ref()?, output, now)
                })
            }))
            .chain(self.probe.as_ref().map(Probe::next_due))
            .chain(self.first_probes.iter().map(Probe::next_due))
            .chain(self.blocked.as_ref().map(|blocked| blocked.next_look.0))
            .chain(self.refusals.next_due())
            .chain(self.next_cron())
            .chain(self.changes_due())
            .chain(self.logs.next_due(&self.spec.logs))
            .chain(match self.busy_until() {
                Some(end) => Some(end),
                None => self.samples.next.into_iter().chain(self.telling.next_due()).min(),
            })
            .min()
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut sources = vec![(Source::Signals, self.signals.as_fd(), PollFlags::POLLIN)];
        sources.push((Source::Listener, self.control.listener().as_fd(), PollFlags::POLLIN));
        for descriptor in self.control.clients() {
            sources.push((Source::Control, descriptor.as_fd(), PollFlags::POLLIN));
        }
        if let Some(process) = self.blocked.as_ref().and_then(|blocked| blocked.process.as_ref()) {
            sources.push((Source::Holder, process.as_fd(), PollFlags::POLLIN));
        }
        for (socket, flags) in self.probe.iter().chain(&self.first_probes).filter_map(Probe::source)
        {
            sources.push((Source::Probe, socket, flags));
        }
        if let Some(ring) = self.tenant.as_ref().and_then(Tenant::ring) {
            sources.push((Source::Refusals, ring, PollFlags::POLLIN));
        }
        if let Some(packer) = self.logs.packer() {
            sources.push((Source::Packer, packer, PollFlags::POLLIN));
        }
        if let Some(changes) = self.changes_source() {
            sources.push((Source::Changes, changes, PollFlags::POLLIN));
        }
        if let Some(telling) = self.telling.source() {
            sources.push((Source::Telling, telling, PollFlags::POLLIN));
        }
        let now = clock::monotonic();
        let rehearsal = self.rehearsal.as_ref().map(|r| (REHEARSAL, &r.running));
        for (id, running) in self.running.iter().map(|(id, r)| (*id, r)).chain(rehearsal) {
            let captures = [
                (&running.out, Output::Out, Source::Out(id)),
                (&running.err, Output::Err, Source::Err(id)),
            ];
            for (capture, output, source) in captures {
                if let Some(capture) = capture
                    && self.logs.rests_until(capture, output, now).is_none()
                {
                    sources.push((source, capture.as_fd(), PollFlags::POLLIN));
                }
            }
            if let Some(calls) = &running.calls
                && running.calls_rest_until(now).is_none()
            {
                sources.push((Source::Calls(id), calls.as_fd(), PollFlags::POLLIN));
            }
            if let Some(says) =
                running.says.as_ref().filter(|_| running.words_rest_until(now).is_none())
            {
                sources.push((Source::Words(id), says.as_fd(), PollFlags::POLLIN));
            }
            if let Some(report) = &running.report {
                sources.push((Source::Report(id), report.as_fd(), PollFlags::POLLIN));
            }
            // A flood of soft events is answered once in a while; there the kernel itself kills the
            // group at the ceiling, so nothing waits for this.
            let is_flooded = running.soft_look.is_some() && self.driver.kind() == "unified";
            if let Some(watch) = running.watch.as_ref().filter(|_| !is_flooded) {
                let descriptors = watch.descriptors().into_iter();
                sources.extend(descriptors.map(|(d, flags)| (Source::Memory(id), d, flags)));
            }
            sources.push((Source::Init(id), running.init.as_fd(), PollFlags::POLLIN));
        }
        sources
    }

    /// Turns what woke the monitor into events. Within one round the output of an instance comes
    /// before its report and that before its end, as `sources` lists them. `true` if all is as it was, and nothing due: it
    /// was only asked, as by each `swrun status`, which is to cost little.
    fn take(&mut self, woken: &[Source]) -> bool {
        let (mut is_control_done, mut was_only_asked) = (false, false);
        for source in woken {
            match *source {
                Source::Signals => self.take_signals(),
                Source::Listener => self.control.admit(),
                Source::Control if is_control_done => {}
                Source::Control => {
                    is_control_done = true;
                    was_only_asked = self.take_calls();
                }
                Source::Out(id) => self.pump(id, Output::Out),
                Source::Err(id) => self.pump(id, Output::Err),
                Source::Packer => self.logs.take_packer(),
                Source::Telling => self.take_told(),
                Source::Changes => self.take_changes(),
                Source::Report(id) => self.take_reports(id),
                Source::Calls(id) => self.answer_call(id),
                Source::Words(id) => self.take_words(id),
                // Looked at below.
                Source::Probe => {}
                Source::Holder => self.unblock(),
                Source::Refusals => self.take_refusals(),
                Source::Memory(id) => self.take_memory_event(id),
                Source::Init(id) => self.take_end(id),
            }
        }
        let is_only_control = woken.iter().all(|source| *source == Source::Control);
        let is_due = || self.next_due().is_some_and(|at| at <= clock::monotonic());
        if was_only_asked && is_only_control && self.pending.is_empty() && !is_due() {
            return true;
        }
        self.look_at_what_is_due();
        self.look_at_probe();
        self.look_at_first_probes();
        false
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo != Signal::SIGHUP as u32 {
                self.end();
            }
        }
    }

    /// Stops the app with its grace, then ends; what is wanted is not this process's to change.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
        self.pending.push_back(Event::Stop);
        if let Some(rehearsal) = &self.rehearsal {
            rehearsal.running.kill();
        }
        let grace = self.spec.stop.grace + Duration::from_secs(5);
        let micros = u32::try_from(grace.as_micros()).unwrap_or(u32::MAX);
        let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
    }
}

/// Who woke the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Listener,
    Control,
    Out(u32),
    Err(u32),
    Packer,
    Telling,
    Changes,
    Report(u32),
    Calls(u32),
    Words(u32),
    Refusals,
    Holder,
    Probe,
    Memory(u32),
    Init(u32),
}

/// How long a start holds up what can wait: samples, the removal of dead groups, the counts on disk, the
/// news for the runner. A monitor that is killed meanwhile leaves one start uncounted.
const UNDISTURBED: Duration = Duration::from_millis(50);

/// How long a start may take until the app is executed: a file system that hangs, or a process of the
/// same user that stops it, must not hold the environment.
const LAUNCHED_WITHIN: Duration = Duration::from_secs(30);

/// Until when an instance must have executed its app; `None` once it has, or is being killed for it.
pub(super) fn launch_deadline(running: &Running) -> Option<Duration> {
    let is_waited_for = running.app.is_none() && running.failure.is_none() && running.end.is_none();
    is_waited_for.then(|| running.launched + LAUNCHED_WITHIN)
}

/// The rules of the state machine, out of the spec.
pub(super) fn rules(spec: &EnvSpec) -> Rules {
    Rules { restart: spec.restart.clone(), grace: spec.stop.grace, instances: spec.instances }
}

/// At least a millisecond, so that a moment just ahead is not spun for.
fn timeout(wait: Duration) -> PollTimeout {
    let millis = wait.as_micros().div_ceil(1_000);
    PollTimeout::try_from(u32::try_from(millis).unwrap_or(u32::MAX).min(i32::MAX.cast_unsigned()))
        .unwrap_or(PollTimeout::MAX)
}
