//! Samples and the full report: what an environment uses, from the kernel's own counters.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::run::Monitor;
use crate::cgroup::{CpuReading, MemoryKinds, MemoryReading};
use crate::lifecycle::Event;
use crate::model::{
    BlockedBy, CpuStatus, EnvironmentStatus, InstanceStatus, LeakStatus, MemoryStatus, Phase,
    PidsStatus, Port, PortStatus, Protocol, Ready, format_duration,
};
use crate::policy::ceiling;
use crate::sys::clock;
use crate::wire::keep::Full;

/// CPU percent is said over at least this time.
const SHORTEST_SPAN: Duration = Duration::from_secs(1);

/// What is kept between two looks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// When the next is due; none while nothing runs.
    pub next: Option<Duration>,
    /// Moment and CPU time used, of the last two samples.
    cpu: [Option<(Duration, u64)>; 2],
    /// Kills at the ceiling of instances that are gone.
    dead_oom_kills: u64,
    /// What was measured last, and whether that is other than before.
    #[serde(skip)]
    seen: Option<(MemoryKinds, CpuReading, Option<f64>, LeakStatus)>,
    #[serde(skip)]
    is_news: bool,
}

impl Samples {
    /// An instance has started: a first sample soon, so that its CPU use can be said.
    pub fn look_soon(&mut self) {
        self.next = Some(clock::monotonic());
    }

    /// A sample at the latest after `pause`.
    pub fn look_within(&mut self, now: Duration, pause: Duration) {
        self.next = Some(self.next.map_or(now + pause, |next| next.min(now + pause)));
    }

    /// Keeps what a dead instance's counters said. At a breach something was killed, also where the
    /// monitor was faster than the kernel's own choice (v1).
    pub fn add_dead(&mut self, reading: &MemoryReading, is_breach: bool) {
        self.dead_oom_kills += reading.oom_kills.unwrap_or(0).max(u64::from(is_breach));
    }

    /// Whether a sample since the last call found something else than the one before it: of one that sleeps none does, and
    /// nobody is told the same again.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    fn see(&mut self, now: Duration, memory: MemoryKinds, cpu: CpuReading, leak: &LeakStatus) {
        let seen = Some((memory, cpu, self.cpu_percent(now, cpu.usage_us), leak.clone()));
        self.is_news |= self.seen != seen;
        self.seen = seen;
    }

    fn add_cpu(&mut self, now: Duration, usage_us: Option<u64>) {
        if let Some(usage) = usage_us {
            self.cpu = [Some((now, usage)), self.cpu[0]];
        }
    }

    /// Percent of one CPU since the newest sample that is old enough.
    fn cpu_percent(&self, now: Duration, usage_us: Option<u64>) -> Option<f64> {
        let (at, before) = self
            .cpu
            .iter()
            .flatten()
            .find(|(at, _)| now.saturating_sub(*at) >= SHORTEST_SPAN)
            .copied()?;
        let used = Duration::from_micros(usage_us?.saturating_sub(before));
        let percent = 100.0 * used.as_secs_f64() / (now - at).as_secs_f64();
        Some((percent * 10.0).round() / 10.0)
    }
}

impl Monitor {
    /// Samples when it is time, and looks at the soft ceiling then: v1 tells of it only when it is
    /// crossed upwards, page cache included.
    pub(super) fn sample_if_due(&mut self) {
        let now = clock::monotonic();
        if self.running.is_empty() {
            self.samples.next = None;
            return;
        }
        if self.samples.next.is_some_and(|at| at > now) {
            return;
        }
        let is_close = self.look_at_listeners();
        let cpu = self.driver.cpu(&self.base);
        let limits = &self.spec.limits;
        let mut pause = ceiling::SAMPLE_EVERY;
        let mut kinds = Vec::with_capacity(self.running.len());
        for id in self.running.keys().copied() {
            let memory = self.driver.memory_kinds(&self.base, id);
            kinds.push(memory);
            let current = memory.current;
            let next = ceiling::next_sample(current, limits.memory_high, limits.memory_max);
            pause = pause.min(next);
            // The whole reading only where it can matter: what cannot be reclaimed is a part of all.
            if ceiling::is_over_soft(current, limits.memory_high)
                && ceiling::is_over_soft(
                    self.driver.memory(&self.base, id).unreclaimable,
                    limits.memory_high,
                )
            {
                self.pending.push_back(Event::SoftCeiling { id });
            }
        }
        let is_high = pause <= ceiling::SAMPLE_CLOSE_EVERY;
        if is_close || self.past.is_watched(now) {
            pause = ceiling::SAMPLE_CLOSE_EVERY;
        }
        let memory = MemoryKinds::total(&kinds);
        self.samples.add_cpu(now, cpu.usage_us);
        self.remember(now, &memory, cpu, pause <= ceiling::SAMPLE_CLOSE_EVERY);
        self.judge_if_due(now, is_high);
        self.samples.see(now, memory, cpu, self.past.leak());
        self.samples.next = Some(ceiling::next_sample_at(now, pause, std::process::id()));
    }

    /// Everything about the environment, measured now.
    pub(super) fn report(&self) -> Full {
        let now = clock::monotonic();
        let instances: Vec<InstanceStatus> = self
            .environment
            .instances()
            .map(|(id, instance)| {
                let running = self.running.get(&id);
                InstanceStatus {
                    id,
                    pid: running.and_then(|running| running.app_pid),
                    init_pid: running.map(|running| running.init_pid),
                    state: instance.phase(),
                    uptime_s: instance.came_up_at().map(|at| now.saturating_sub(at).as_secs()),
                    memory: self.memory_of(id),
                }
            })
            .collect();
        let phase = self.environment.phase();
        let cpu = self.driver.cpu(&self.base);
        let pids = self.driver.pids(&self.base);
        let status = EnvironmentStatus {
            name: self.name.to_string(),
            target: self.spec.target.clone(),
            user: self.spec.identity.user.clone(),
            state: phase,
            wanted: self.environment.wanted(),
            reason: self.reason(),
            pid: instances.iter().find_map(|instance| instance.pid),
            monitor_pid: Some(std::process::id()),
            ports: self.ports(phase),
            blocked_by: self.blocked_by(),
            restarts: self.environment.restarts(),
            unstable: self.environment.unstable(),
            last_exit: self.last_exit.clone(),
            next_try_ms: self
                .environment
                .next_try()
                .map(|at| clock::millis(at.saturating_sub(now))),
            uptime_s: instances
                .iter()
                .filter(|instance| instance.state == Phase::Online)
                .filter_map(|instance| instance.uptime_s)
                .max(),
            memory: self.sum(&instances),
            instances,
            cpu: CpuStatus {
                percent: self.samples.cpu_percent(now, cpu.usage_us),
                limit_percent: self.spec.limits.cpu_percent.map(f64::from),
                usage_us: cpu.usage_us,
                throttled_us: cpu.throttled_us,
            },
            // Where they are not counted they are not limited.
            pids: PidsStatus { current: pids, max: pids.map(|_| u64::from(self.spec.limits.pids)) },
            leak: self.past.leak().clone(),
            changed: false,
            no_profile: false,
            release: self.release(),
        };
        Full {
            status,
            cgroup: self.base.clone(),
            profile_digest: self.spec.profile_digest.clone(),
            at_ms: clock::millis(now),
        }
    }

    fn memory_of(&self, id: u32) -> MemoryStatus {
        let reading = self.driver.memory(&self.base, id);
        MemoryStatus {
            current: reading.current,
            anon: reading.anon,
            high: self.spec.limits.memory_high,
            max: reading.max,
            peak: reading.peak,
            swap: reading.swap,
            oom_kills: reading.oom_kills,
            pressure_avg10: reading.pressure_avg10,
        }
    }

    fn sum(&self, instances: &[InstanceStatus]) -> MemoryStatus {
        let sum = |field: fn(&MemoryStatus) -> Option<u64>| -> Option<u64> {
            let values = instances.iter().map(|instance| field(&instance.memory));
            if instances.is_empty() { None } else { values.sum() }
        };
        let count = u64::from(self.spec.instances);
        let living_kills =
            if instances.is_empty() { Some(0) } else { sum(|memory| memory.oom_kills) };
        MemoryStatus {
            current: sum(|memory| memory.current),
            anon: sum(|memory| memory.anon),
            high: self.spec.limits.memory_high.map(|high| high * count),
            max: Some(self.spec.limits.memory_max * count),
            peak: sum(|memory| memory.peak),
            swap: sum(|memory| memory.swap),
            oom_kills: living_kills.map(|kills| kills + self.samples.dead_oom_kills),
            pressure_avg10: instances
                .iter()
                .filter_map(|instance| instance.memory.pressure_avg10)
                .reduce(f64::max),
        }
    }

    fn ports(&self, phase: Phase) -> Vec<PortStatus> {
        let missing: Vec<u16> =
            self.running.values().flat_map(|running| running.missing_ports.clone()).collect();
        let is_up = phase == Phase::Online || phase == Phase::Starting;
        let by = self.blocked_by();
        let is_in_the_way = |port: Port| {
            by.as_ref().is_some_and(|by| (by.port, by.proto) == (port.port, port.proto))
        };
        let state = |port: Port| match port.proto {
            _ if is_in_the_way(port) => Some("blocked"),
            Protocol::Tcp if self.listeners.holds(port.port) => Some("held"),
            _ if self.tenant.is_some() && self.holds => Some("reserved"),
            Protocol::Tcp if is_up && !self.running.is_empty() && !missing.contains(&port.port) => {
                Some("listening")
            }
            Protocol::Tcp => Some("closed"),
            // Nothing listens on UDP.
            Protocol::Udp if self.tenant.is_some() => Some("reserved"),
            Protocol::Udp => None,
        };
        let ports = self.spec.ports.iter().copied();
        ports
            .map(|port| PortStatus {
                port: port.port,
                proto: port.proto,
                state: state(port).map(str::to_owned),
            })
            .collect()
    }

    fn blocked_by(&self) -> Option<BlockedBy> {
        let blocked = self.blocked.as_ref().filter(|_| self.environment.is_blocked());
        blocked.map(|blocked| blocked.by.clone())
    }

    /// One line on why the environment is not as wanted.
    pub(super) fn reason(&self) -> Option<String> {
        let now = clock::monotonic();
        match self.environment.phase() {
            Phase::Errored | Phase::Stopped => {
                self.environment.rest_state().map(|(reason, _)| reason.to_owned())
            }
            Phase::Starting if self.running.values().any(|r| r.is_awaited()) => {
                let awaited = self.running.values().find(|running| running.is_awaited())?;
                let word = match awaited.words.awaited {
                    Ready::Notify => "READY=1 to NOTIFY_SOCKET",
                    Ready::Message | Ready::Ports | Ready::Health => "process.send(\"ready\")",
                };
                Some(format!("it has not said that it is ready yet ({word})"))
            }
            Phase::Starting if !self.first_probes.is_empty() => {
                let why = self.first_probes.iter().find_map(|probe| probe.failed.as_deref());
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                Some(format!("its [health] has not answered yet{why}"))
            }
            Phase::Starting => {
                let missing = self.running.values().find(|r| !r.missing_ports.is_empty())?;
                let ports: Vec<String> = missing.missing_ports.iter().map(u16::to_string).collect();
                Some(format!("it does not listen on {} yet", ports.join(", ")))
            }
            Phase::Backoff => {
                let pause = self.environment.next_try()?.saturating_sub(now);
                let last = self.last_exit.as_ref()?;
                let how = last.detail.clone().unwrap_or_else(|| last.cause.word().to_owned());
                // Rounded, so that it is no news every millisecond.
                let pause = Duration::from_secs(pause.as_secs_f64().ceil() as u64);
                let deaths = self.environment.unstable();
                Some(format!("{how}; {deaths} in a row, next try in {}", format_duration(pause)))
            }
            Phase::Blocked => self.blocked.as_ref().map(|blocked| blocked.by.to_string()),
            Phase::Online | Phase::Stopping => None,
        }
    }
}
