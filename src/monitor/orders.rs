//! Orders of the runner: what is tried before anything is torn down, and how a reload ends.

use procfs::{Current as _, Meminfo};

use super::control::Client;
use super::instance::{Remains, Running};
use super::run::{Monitor, REHEARSAL, Rehearsal, rules};
use super::start::How;
use crate::formats::spec_file;
use crate::lifecycle::Event;
use crate::model::{EnvSpec, EventKind, Phase, Protocol, ReleaseName, format_bytes};
use crate::policy::ceiling;
use crate::sys::clock;
use crate::sys::trace::{Trace, TraceStep};
use crate::wire::keep::{Brief, ReloadFailed, Reply, Request};

impl Monitor {
    /// Whether an order is under way that a restart by itself would spoil.
    pub(super) fn is_under_order(&self) -> bool {
        self.environment.is_reloading() || self.rehearsal.is_some()
    }

    /// Answers and does what is asked; `true` if nothing was but reports.
    pub(super) fn take_calls(&mut self) -> bool {
        let calls = self.control.calls();
        let was_only_asked = calls.iter().all(|(_, call, _)| call.request == Request::Report);
        for (client, call, with) in calls {
            match call.request {
                Request::Report => {
                    let now = clock::monotonic();
                    if self.past.ask(now) {
                        self.samples.look_within(now, ceiling::SAMPLE_CLOSE_EVERY);
                    }
                    let full = Box::new(self.report());
                    self.control.reply(client, call.id, Reply::Report(full));
                }
                Request::Start if self.is_ending => {
                    let text = "the environment is being stopped".to_owned();
                    self.control.reply(client, call.id, Reply::Failed(text));
                }
                Request::Start => {
                    self.pending.push_back(Event::Start);
                    let now = Box::new(self.brief());
                    self.control.reply(client, call.id, Reply::Accepted(now));
                }
                Request::Stop => {
                    self.end();
                    let now = Box::new(self.brief());
                    self.control.reply(client, call.id, Reply::Accepted(now));
                }
                Request::Restart => {
                    if let Err(text) = self.rehearse(client, call.id, Event::Restart) {
                        self.control.reply(client, call.id, Reply::Failed(text));
                    }
                }
                Request::Reload => {
                    let tried = self
                        .can_reload()
                        .and_then(|()| self.rehearse(client, call.id, Event::Reload));
                    if let Err(text) = tried {
                        self.control.reply(client, call.id, Reply::Failed(text));
                    }
                }
                Request::Scale => {
                    let reply = match self.scale() {
                        Ok(()) => Reply::Accepted(Box::new(self.brief())),
                        Err(text) => Reply::Failed(text),
                    };
                    self.control.reply(client, call.id, reply);
                }
                Request::Upgrade => {
                    self.hand_over_soon(with.into_iter().next(), client, call.id);
                }
                Request::Flush => {
                    let reply = match self.logs.flush() {
                        Ok(()) => Reply::Done,
                        Err(text) => Reply::Failed(text),
                    };
                    self.control.reply(client, call.id, reply);
                }
                Request::Trace => {
                    let steps = self.traced();
                    self.control.reply(client, call.id, Reply::Trace(steps));
                }
                Request::Ports => {
                    let ports = self.port_lines();
                    self.control.reply(client, call.id, Reply::Ports(ports));
                }
            }
        }
        was_only_asked
    }

    /// Tries the spec as it is now, before anything is torn down.
    fn rehearse(&mut self, client: Client, call: u64, then: Event) -> Result<(), String> {
        if self.rehearsal.is_some() {
            return Err("a restart is already being tried out".to_owned());
        }
        if self.is_ending {
            return Err("the environment is being stopped".to_owned());
        }
        let trace = Trace::begin("monitor");
        let spec = self.read_spec()?;
        // The group of a rehearsal before may still be there.
        self.collect_garbage();
        let how = How { place: 0, rehearse: true, is_walled: self.tenant.is_some() };
        let started = self.starter.start(self.driver.as_ref(), &self.base, &spec, REHEARSAL, how);
        match started {
            Ok(mut running) => {
                self.trace = trace;
                running.hold_mounts();
                let succeeded = false;
                self.rehearsal = Some(Rehearsal { running, spec, succeeded, client, call, then });
                Ok(())
            }
            Err(failure) => {
                self.garbage.push(Remains { id: REHEARSAL, mounts: None });
                Err(failure.to_string())
            }
        }
    }

    fn read_spec(&self) -> Result<EnvSpec, String> {
        let path = self.places.spec(&self.name);
        spec_file::read(&path)
            .map_err(|e| format!("could not read the spec \"{}\": {e}", path.display()))
    }

    /// Whether a second instance can stand beside the first.
    pub(super) fn can_reload(&self) -> Result<(), String> {
        let has_ports = self.spec.ports.iter().any(|port| port.proto == Protocol::Tcp);
        if has_ports && !self.holds {
            return Err("this host cannot let two instances share a port (see \"swrun doctor\"); use restart".to_owned());
        }
        let used = self.running.keys().filter_map(|id| self.driver.memory_current(&self.base, *id));
        let free = Meminfo::current().ok().and_then(|info| info.mem_available);
        match (used.max(), free) {
            (Some(used), Some(free)) if free < used => Err(format!(
                "the host has no room for a second instance: one uses {}, {} are available; use restart",
                format_bytes(used),
                format_bytes(free)
            )),
            _ => Ok(()),
        }
    }

    /// Takes the number of instances, and nothing else, from the spec as it is now.
    fn scale(&mut self) -> Result<(), String> {
        if self.is_ending {
            return Err("the environment is being stopped".to_owned());
        }
        let instances = self.read_spec()?.instances;
        let has_ports = self.spec.ports.iter().any(|port| port.proto == Protocol::Tcp);
        if instances > 1 && has_ports && !self.holds {
            return Err(
                "this host cannot let instances share a port (see \"swrun doctor\")".to_owned()
            );
        }
        self.spec.instances = instances;
        self.environment.set_rules(rules(&self.spec));
        self.is_dirty = true;
        Ok(())
    }

    pub(super) fn end_rehearsal(&mut self, mut rehearsal: Rehearsal) -> Running {
        self.trace.did("try the start out");
        let failure = rehearsal.running.failure.take().map(|failure| failure.to_string());
        let outcome = match failure {
            Some(text) => Err(text),
            None if !rehearsal.succeeded => Err("the trial start was killed".to_owned()),
            None if self.is_ending => Err("the environment is being stopped".to_owned()),
            None => {
                self.driver.prepare(&self.base, &rehearsal.spec.limits).map_err(|e| e.to_string())
            }
        };
        let reply = match outcome {
            Err(text) => Reply::Failed(text),
            Ok(()) => {
                let before = std::mem::replace(&mut self.spec, rehearsal.spec);
                self.logs.follow(&self.spec, &self.places);
                if rehearsal.then == Event::Reload {
                    self.spec_before = Some(before);
                } else {
                    self.note_release(&before);
                }
                self.starter.discard(self.driver.as_ref(), &self.base);
                self.own_ports(self.holds);
                if self.spec_before.is_none() {
                    self.listeners.keep_only(&self.spec.ports);
                }
                self.environment.set_rules(rules(&self.spec));
                self.pending.push_back(rehearsal.then);
                Reply::Accepted(Box::new(self.brief()))
            }
        };
        self.control.reply(rehearsal.client, rehearsal.call, reply);
        rehearsal.running
    }

    /// Writes down that another release runs now, and why.
    fn note_release(&mut self, before: &EnvSpec) {
        let name = |spec: &EnvSpec| spec.release.as_ref().map(|release| release.name.clone());
        let (old, new) = (name(before), name(&self.spec));
        let Some(new) = new.filter(|new| old.as_ref() != Some(new)) else { return };
        let mut text = match old {
            Some(old) => format!("release {new} is in the place of {old}"),
            None => format!("release {new} is in place"),
        };
        if let Some(why) = self.spec.release.as_ref().and_then(|release| release.why.as_ref()) {
            text = format!("{text}: {why}");
        }
        self.write_event(None, EventKind::Note { text });
    }

    /// Where the time of the last start went, of all instances that there are.
    fn traced(&self) -> Vec<TraceStep> {
        let of_instance = self.running.iter().flat_map(|(id, running)| {
            let steps = running.trace.steps().iter().cloned();
            steps.map(|step| TraceStep { instance: Some(*id), ..step })
        });
        self.trace.steps().iter().cloned().chain(of_instance).collect()
    }

    pub(super) fn brief(&self) -> Brief {
        Brief {
            phase: self.environment.phase(),
            reason: self.reason(),
            last_exit: self.last_exit.clone(),
            ends: self.ends,
            pid: self.running.values().find_map(|running| running.app_pid),
            restarts: self.environment.restarts(),
            online: self
                .environment
                .instances()
                .filter(|(_, instance)| instance.phase() == Phase::Online)
                .count(),
            instances: self.running.len(),
            reloads: self.reloads,
            reload_failed: self.reload_failed.clone(),
            release: self.release(),
        }
    }

    /// The release that serves: while one is on its way the one before it.
    pub(super) fn release(&self) -> Option<ReleaseName> {
        let spec = self.spec_before.as_ref().unwrap_or(&self.spec);
        spec.release.as_ref().map(|release| release.name.clone())
    }

    pub(super) fn end_reload(&mut self, failed: Option<(u32, String)>) {
        if let Some((id, _)) = &failed {
            self.listeners.let_go(*id);
        }
        self.listeners.steer_no_more();
        // The old ones go on with what they had; else what only they had goes with them.
        if let Some(before) = self.spec_before.take() {
            if failed.is_none() {
                self.note_release(&before);
            } else {
                self.spec = before;
                self.logs.follow(&self.spec, &self.places);
                self.environment.set_rules(rules(&self.spec));
                self.starter.discard(self.driver.as_ref(), &self.base);
                if let Err(error) = self.driver.prepare(&self.base, &self.spec.limits) {
                    self.write_event(None, EventKind::Warning { text: error.to_string() });
                }
            }
            self.own_ports(self.holds);
            self.listeners.keep_only(&self.spec.ports);
        }
        self.reloads += 1;
        let last = self.probe.take().and_then(|probe| probe.failed);
        self.reload_failed = failed.map(|(instance, mut reason)| {
            if let Some(last) = last {
                reason = format!("{reason}; its health check: {last}");
            }
            ReloadFailed { instance, reason }
        });
        let reason = self.reload_failed.as_ref().map(|failed| failed.reason.clone());
        self.write_event(None, EventKind::Reloaded { reason });
    }
}
