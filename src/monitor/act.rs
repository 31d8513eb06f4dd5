//! Acting: what the state machine decided, and what the kernel and init said of an instance.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use super::instance::{End, Remains, Running};
use super::logs::Output;
use super::ports;
use super::run::{Monitor, REHEARSAL, Rehearsal, launch_deadline};
use super::start::How;
use crate::formats::journal;
use crate::lifecycle::{Action, Event};

use crate::model::{self, Cause, EventKind, LastExit, Phase, Protocol};
use crate::policy::ceiling;
use crate::sys::trace::Trace;
use crate::sys::{channel, clock};
use crate::wire::launch::{Failure, Report};

impl Monitor {
    /// One step of the state machine, and what it decided.
    pub(super) fn step(&mut self, event: &Event) {
        let before = self.environment.phase();
        if let Event::Running { id } = event
            && let Some(running) = self.running.get_mut(id)
        {
            running.trace.did("wait until it is up");
        }
        let actions = self.environment.step(event, clock::monotonic());
        self.is_dirty |= !actions.is_empty() || before != self.environment.phase();
        for action in actions {
            match action {
                Action::Launch { id } => self.launch(id),
                Action::Signal { id } => self.signal(id),
                Action::Kill { id } => self.kill(id),
                Action::Record { id, cause } => self.record(id, cause),
                Action::Pause { delay } => {
                    let delay_ms = clock::millis(delay);
                    self.write_event(None, EventKind::Backoff { delay_ms });
                }
                // Of several the kernel chooses, and only among all.
                Action::Relieve { new, .. } if self.spec.instances == 1 => {
                    self.listeners.steer_to(new);
                }
                Action::Relieve { .. } => {}
                Action::Reloaded { failed } => self.end_reload(failed),
                Action::Rest { reason, .. } => {
                    // Nobody will answer.
                    let running = &self.running;
                    self.listeners.end_dead(|id| running.contains_key(&id));
                    self.write_event(None, EventKind::GaveUp { reason });
                }
            }
        }
    }

    fn launch(&mut self, id: u32) {
        if self.is_blocked(id) {
            return;
        }
        let how = How {
            place: self.environment.place(id),
            rehearse: false,
            is_walled: self.tenant.is_some(),
        };
        self.trace.did("come to the start");
        match self.starter.start(self.driver.as_ref(), &self.base, &self.spec, id, how) {
            Ok(running) => {
                self.busy_since.get_or_insert(running.launched);
                self.running.insert(id, running);
            }
            Err(failure) => {
                self.note_end(Cause::StartFailed, None, None, Some(failure.to_string()));
                self.garbage.push(Remains { id, mounts: None });
                self.pending.push_back(Event::NotStarted { id });
            }
        }
    }

    fn signal(&mut self, id: u32) {
        let Some(running) = self.running.get(&id) else { return };
        // Where others serve too, nobody is to wait for this one.
        self.listeners.hand_over(id, |other| self.running.contains_key(&other));
        let Some(app) = &running.app else {
            // It has not been executed yet: nobody could answer a signal.
            return self.kill(id);
        };
        let Some(signal) = rustix::process::Signal::from_named_raw(self.spec.stop.signal.number())
        else {
            return self.kill(id);
        };
        // An app that has just ended needs none.
        let _ = rustix::process::pidfd_send_signal(app, signal);
    }

    pub(super) fn group_of(&self, id: u32) -> PathBuf {
        self.base.join("app").join(id.to_string())
    }

    /// The whole cgroup at once; its init too, which ends whatever is not in it.
    pub(super) fn kill(&mut self, id: u32) {
        let group = self.group_of(id);
        if let Err(error) = self.driver.kill(&group) {
            self.write_event(Some(id), EventKind::Warning { text: error.to_string() });
        }
        if let Some(running) = self.running.get(&id) {
            running.kill();
        }
    }

    pub(super) fn pump(&mut self, id: u32, output: Output) {
        let Some(running) = instance(&mut self.running, &mut self.rehearsal, id) else { return };
        self.logs.pump_in_order(&mut running.out, &mut running.err, output, &self.spec.logs);
    }

    pub(super) fn take_reports(&mut self, id: u32) {
        loop {
            let Some(running) = instance(&mut self.running, &mut self.rehearsal, id) else {
                return;
            };
            let Some(report) = &running.report else { return };
            match channel::receive(report.as_fd()) {
                Ok(Some(message)) => match serde_json::from_slice::<Report>(&message.bytes) {
                    Ok(Report::Says) => running.says = message.descriptors.into_iter().next(),
                    Ok(Report::Started { steps }) => {
                        running.trace.did("wait until it is executed");
                        running.trace.take(steps);
                        let mut descriptors = message.descriptors.into_iter();
                        (running.app, running.calls) = (descriptors.next(), descriptors.next());
                        self.started(id);
                    }
                    Ok(Report::Failed(failure)) => running.failure = Some(bounded(failure)),
                    Ok(Report::Ended { code, signal }) => running.end = Some(End { code, signal }),
                    Err(error) => {
                        let why = std::io::Error::from(error);
                        running.failure = Some(Failure::new("understand init", &why));
                    }
                },
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    running.report = None;
                    return;
                }
            }
        }
    }

    fn started(&mut self, id: u32) {
        self.has_started = true;
        if id == REHEARSAL {
            if let Some(rehearsal) = &mut self.rehearsal {
                rehearsal.succeeded = true;
            }
            return;
        }
        let Some(running) = self.running.get_mut(&id) else { return };
        running.hold_mounts();
        running.app_pid = running.app.as_ref().and_then(pid_of);
        let pid = running.app_pid.unwrap_or(-1);
        let wanted = self.spec.ports.iter().filter(|port| port.proto == Protocol::Tcp);
        running.missing_ports = wanted.map(|port| port.port).collect();
        let is_held = running.calls.is_some() && self.tenant.is_some();
        if running.missing_ports.is_empty() {
            self.ports_are_met(id);
        } else if !is_held {
            running.next_look = Some((clock::monotonic() + ports::FIRST_LOOK, ports::FIRST_LOOK));
        }
        self.samples.look_soon();
        self.write_event(Some(id), EventKind::Started { pid });
        self.own_ports(is_held);
    }

    /// The kernel's memory events: a breach ends the whole instance at once; a soft event has the
    /// memory looked at.
    pub(super) fn take_memory_event(&mut self, id: u32) {
        let now = clock::monotonic();
        let Some(running) = self.running.get_mut(&id) else { return };
        let Some(watch) = &mut running.watch else { return };
        if watch.look().is_breach() {
            if !std::mem::replace(&mut running.breached, true) {
                self.kill(id);
            }
        } else if running.soft_look.is_none() {
            running.soft_look = Some(now.max(running.last_soft_look + ceiling::LOOK_AT_MOST_EVERY));
        }
    }

    pub(super) fn look_at_what_is_due(&mut self) {
        let now = clock::monotonic();
        let rehearsal = self.rehearsal.as_mut().map(|rehearsal| &mut rehearsal.running);
        for running in self.running.values_mut().chain(rehearsal) {
            if launch_deadline(running).is_some_and(|at| at <= now) {
                running.failure = Some(Failure {
                    step: "start the app".to_owned(),
                    why: "it did not come to its exec in time; does a file system hang?".to_owned(),
                    errno: None,
                });
                running.kill();
            }
        }
        self.look_at_blocked(now);
        let ids: Vec<u32> = self.running.keys().copied().collect();
        for id in ids {
            let Some(running) = self.running.get_mut(&id) else { continue };
            if running.soft_look.is_some_and(|at| at <= now) {
                self.look_at_memory(id, now);
            }
            let Some(running) = self.running.get_mut(&id) else { continue };
            if running.next_look.is_some_and(|(at, _)| at <= now) {
                self.look_at_ports(id, now);
            }
        }
    }

    fn look_at_memory(&mut self, id: u32, now: Duration) {
        let reading = self.driver.memory(&self.base, id);
        let is_over = ceiling::is_over_soft(reading.unreclaimable, self.spec.limits.memory_high);
        if let Some(running) = self.running.get_mut(&id) {
            running.soft_look = None;
            running.last_soft_look = now;
        }
        if is_over {
            self.pending.push_back(Event::SoftCeiling { id });
        } else {
            // v1 tells only of the crossing, and its counts lag behind: what goes on growing is met by
            // the samples, which are close from here on.
            self.samples.look_within(now, ceiling::SAMPLE_CLOSE_EVERY);
        }
    }

    fn look_at_ports(&mut self, id: u32, now: Duration) {
        let group = self.group_of(id);
        let pids = self.driver.processes(&group).unwrap_or_default();
        let missing = ports::missing(&self.spec.ports, &pids);
        let Some(running) = self.running.get_mut(&id) else { return };
        match missing {
            Some(missing) if !missing.is_empty() => {
                running.missing_ports = missing;
                let pause = running.next_look.map_or(ports::FIRST_LOOK, |(_, pause)| pause);
                let pause = (pause * 2).min(ports::SLOWEST_LOOK);
                running.next_look = Some((now + pause, pause));
            }
            // What the kernel does not tell holds nothing up.
            Some(_) | None => {
                running.missing_ports.clear();
                running.next_look = None;
                self.ports_are_met(id);
            }
        }
    }

    /// The init of an instance is dead, and with it every process of the instance.
    pub(super) fn take_end(&mut self, id: u32) {
        let began = Trace::begin("monitor");
        self.take_reports(id);
        let running = if id == REHEARSAL {
            self.rehearsal.take().map(|rehearsal| self.end_rehearsal(rehearsal))
        } else {
            self.running.remove(&id)
        };
        let Some(mut running) = running else { return };
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(running.init.as_fd()),
            rustix::process::WaitIdOptions::EXITED,
        );
        for (slot, output) in [(&mut running.out, Output::Out), (&mut running.err, Output::Err)] {
            self.logs.finish(slot, output, &self.spec.logs);
        }
        self.garbage.push(Remains { id, mounts: running.mounts.take() });
        self.listeners.hand_over(id, |other| self.running.contains_key(&other));
        if id != REHEARSAL {
            let event = self.decide_end(id, &mut running);
            self.pending.push_back(event);
            self.trace_end(id, began);
        }
    }

    /// Where an order ended it, it is a part of what that took; else what follows begins with it.
    fn trace_end(&mut self, id: u32, began: Trace) {
        let mut instances = self.environment.instances();
        if instances.any(|(one, instance)| one == id && instance.phase() == Phase::Stopping) {
            self.trace.did("end the one before");
        } else {
            self.trace = began;
            self.trace.did("see how it ended");
        }
    }

    /// The cause as the kernel's counters and the status tell it.
    fn decide_end(&mut self, id: u32, running: &mut Running) -> Event {
        if let Some(failure) = running.failure.take() {
            self.note_end(Cause::StartFailed, None, None, Some(failure.to_string()));
            return Event::NotStarted { id };
        }
        let counters = running.watch.as_mut().map(|watch| watch.look()).unwrap_or_default();
        // v2 counts the host's own kills too: there its ceiling was not met.
        let is_hosts = self.driver.kind() == "unified"
            && counters.oom == Some(0)
            && counters.oom_kill.is_some_and(|kills| kills > 0);
        let is_breach = (running.breached || counters.is_breach()) && !is_hosts;
        let reading = self.driver.last_memory(&self.base, id);
        self.samples.add_dead(&reading, is_breach);
        let cause = match running.end {
            _ if is_breach => Cause::MemoryCeiling,
            Some(End { code: Some(0), .. }) => Cause::Exit,
            Some(_) | None => Cause::Crash,
        };
        let detail = match running.end {
            _ if is_hosts => Some(
                "the host, or a group above its own, ran out of memory, and the kernel chose it"
                    .to_owned(),
            ),
            Some(_) if cause == Cause::Crash => self.refused_port(),
            Some(_) => None,
            None if is_breach => None,
            None => Some("its init was killed".to_owned()),
        };
        // An init that could not report was killed with all others.
        let end = running.end.unwrap_or(End { code: None, signal: Some(libc::SIGKILL) });
        self.note_end(cause, Some(end), reading.peak, detail);
        Event::Ended { id, cause }
    }

    /// A program that is refused its port mostly ends over it; its own words say no more than "permission
    /// denied".
    fn refused_port(&mut self) -> Option<String> {
        self.take_refusals();
        let port = self.refusals.take_own()?;
        Some(format!(
            "it was refused port {}/{}, which is not among the \"ports\" of its profile",
            port.port,
            port.proto.word()
        ))
    }

    /// Keeps what is known of an end until the state machine has named the cause.
    fn note_end(
        &mut self,
        cause: Cause,
        end: Option<End>,
        peak: Option<u64>,
        detail: Option<String>,
    ) {
        let signal = end.and_then(|end| end.signal).map(signal_name);
        let code = end.and_then(|end| end.code);
        self.last_exit = Some(LastExit { cause, code, signal, at: now_text(), peak, detail });
    }

    /// The end of an instance whose monitor could not tell it any more: the death signal of its init
    /// is SIGKILL.
    pub(super) fn record_lost(&mut self, id: u32) {
        let end = End { code: None, signal: Some(libc::SIGKILL) };
        let detail = "its monitor ended without stopping it (killed, or the host went down)";
        self.note_end(Cause::Crash, Some(end), None, Some(detail.to_owned()));
        self.record(id, Cause::Crash);
    }

    fn record(&mut self, id: u32, cause: Cause) {
        self.ends += 1;
        let Some(last) = &mut self.last_exit else { return };
        last.cause = cause;
        let LastExit { cause, code, signal, peak, detail, .. } = last.clone();
        self.write_event(Some(id), EventKind::Ended { cause, code, signal, peak, detail });
    }

    /// Removes what dead instances left: their mounts, then their groups.
    pub(super) fn collect_garbage(&mut self) {
        for Remains { id, mounts } in std::mem::take(&mut self.garbage) {
            drop(mounts);
            let group = self.group_of(id);
            if let Err(error) = self.driver.remove(&group) {
                if error.source.raw_os_error() != Some(libc::EBUSY) {
                    self.starter.remove_later(id);
                }
                self.write_event(Some(id), EventKind::Warning { text: error.to_string() });
            }
        }
    }

    pub(super) fn write_event(&mut self, instance: Option<u32>, kind: EventKind) {
        let event = self.append_event(instance, kind);
        self.telling.add(self.spec.notify.as_ref(), &event);
    }

    /// Writes an event that nobody is told of.
    pub(super) fn append_event(&mut self, instance: Option<u32>, kind: EventKind) -> model::Event {
        let event = model::Event { at: now_text(), instance, kind };
        if let Err(error) = journal::append(&self.places.journal(&self.name), &event) {
            eprintln!("swrun: monitor: {}: could not write its journal: {error}", self.name);
        }
        event
    }
}

/// The instance of a number, the rehearsal's included.
fn instance<'a>(
    running: &'a mut std::collections::BTreeMap<u32, Running>,
    rehearsal: &'a mut Option<Rehearsal>,
    id: u32,
) -> Option<&'a mut Running> {
    if id == REHEARSAL {
        rehearsal.as_mut().map(|rehearsal| &mut rehearsal.running)
    } else {
        running.get_mut(&id)
    }
}

/// A failure as it can be kept and sent on: a part of its text may be an app's.
fn bounded(failure: Failure) -> Failure {
    let cut = |text: String| text.chars().take(500).collect();
    Failure { step: cut(failure.step), why: cut(failure.why), errno: failure.errno }
}

/// The pid behind a pidfd, as this process's namespace sees it (proc_pid_fdinfo(5)).
fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path).ok()?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())?;
    // -1 is that of a process that has ended and was reaped.
    (pid > 0).then_some(pid)
}

fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// Now, as RFC 3339 in whole seconds.
pub(super) fn now_text() -> String {
    clock::rfc3339(clock::wall_millis()).unwrap_or_default()
}
