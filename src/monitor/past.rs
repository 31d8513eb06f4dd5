//! What the environment used: sampled into its history, judged for a leak, and what follows from that.

use std::path::Path;
use std::time::Duration;

use super::run::Monitor;
use crate::cgroup::{CpuReading, MemoryKinds};
use crate::formats::history::{self, History, RINGS};
use crate::lifecycle::Event;
use crate::model::{EventKind, LeakAction, LeakStatus, LeakVerdict, Phase, Usage, UsageSpan};
use crate::policy::leak::{self, Look};
use crate::sys::{clock, memory};

/// Between two judgements.
const JUDGE_EVERY: Duration = Duration::from_secs(600);

/// Between two while memory is close to its ceiling.
const JUDGE_CLOSE_EVERY: Duration = Duration::from_secs(15);

/// Before the first.
const JUDGE_FIRST: Duration = Duration::from_secs(5);

/// How far back is judged, in seconds: the longest span, and the lives before it.
const JUDGED: u64 = 7 * 24 * 3600 + 3600;

/// Who asks twice within this time watches, and for so long each second counts.
const WATCHES: Duration = Duration::from_secs(3);

/// The history, and what is made of it.
#[derive(Debug)]
pub struct Past {
    history: Option<History>,
    /// The last trouble with it: said once.
    trouble: Option<String>,
    before: Option<Before>,
    judge_at: Duration,
    judged_at: Duration,
    /// Anonymous memory at the last sample, in bytes.
    anon: Option<u64>,
    leak: LeakStatus,
    /// When somebody asked last, and whether somebody watches until then.
    asked: Duration,
    watched_until: Duration,
}

/// Counters at the sample before.
#[derive(Debug, Clone, Copy)]
struct Before {
    at: Duration,
    cpu: CpuReading,
    io: Option<(u64, u64)>,
    ends: u64,
}

impl Past {
    /// Opens the history at `path`; the second is what an operator should know.
    pub fn open(path: &Path) -> (Self, Option<String>) {
        let (history, trouble) = match History::open(path) {
            Ok((history, said)) => (Some(history), said),
            Err(error) => {
                let text = format!("no history is kept, \"{}\": {error}", path.display());
                (None, Some(text))
            }
        };
        let past = Self {
            history,
            trouble: None,
            before: None,
            judge_at: clock::monotonic() + JUDGE_FIRST,
            judged_at: clock::monotonic(),
            anon: None,
            leak: LeakStatus::unknown(),
            asked: Duration::ZERO,
            watched_until: Duration::ZERO,
        };
        (past, trouble)
    }

    /// The verdict of the last look.
    pub fn leak(&self) -> &LeakStatus {
        &self.leak
    }

    /// Somebody asked for all numbers; `true` if that makes a watcher of one who was none.
    pub fn ask(&mut self, now: Duration) -> bool {
        let is_second = now.saturating_sub(self.asked) < WATCHES;
        let is_new = is_second && self.watched_until <= now;
        self.asked = now;
        if is_second {
            self.watched_until = now + WATCHES;
        }
        is_new
    }

    /// Whether each second counts for somebody.
    pub fn is_watched(&self, now: Duration) -> bool {
        self.watched_until > now
    }

    fn looks(path: &Path, now: u64) -> std::io::Result<Vec<Look>> {
        let mut looks = Vec::new();
        let [_, _, minutes, _] = RINGS;
        history::look(path, minutes, now.saturating_sub(JUDGED), now, |span| {
            if let Some(trough) = span.anon_min {
                let UsageSpan { at, life, cpu_percent: load, .. } = span;
                leak::add(&mut looks, Look { at, life, trough, load, minutes: 1 }, now);
            }
        })?;
        Ok(looks)
    }
}

impl Monitor {
    /// Adds a sample to the history. `is_close`: the next one comes in a second.
    pub(super) fn remember(
        &mut self,
        now: Duration,
        memory: &MemoryKinds,
        cpu: CpuReading,
        is_close: bool,
    ) {
        let usage = self.usage(now, memory, cpu);
        self.past.anon = usage.anon;
        let Some(history) = &mut self.past.history else { return };
        let trouble = history.add(&usage, is_close).err().map(|error| error.to_string());
        let is_new = trouble.is_some() && self.past.trouble.is_none();
        self.past.trouble = trouble;
        if let Some(text) = self.past.trouble.as_ref().filter(|_| is_new) {
            let text = format!("its history could not be written, and is until it can: {text}");
            self.write_event(None, EventKind::Warning { text });
        }
    }

    fn usage(&mut self, now: Duration, memory: &MemoryKinds, cpu: CpuReading) -> Usage {
        let driver = self.driver.as_ref();
        let io = driver.io(&self.base);
        let pressure = driver.pressure(&self.base);
        let pids = driver.pids(&self.base);
        let before = self.past.before.replace(Before { at: now, cpu, io, ends: self.ends });
        let since = |after: Option<u64>, before: Option<u64>| {
            after.zip(before).map(|(after, before)| after.saturating_sub(before))
        };
        let passed = before.map(|before| now.saturating_sub(before.at).as_secs_f64());
        let used = since(cpu.usage_us, before.and_then(|before| before.cpu.usage_us));
        let throttled = since(cpu.throttled_us, before.and_then(|before| before.cpu.throttled_us));
        let io_before = before.and_then(|before| before.io);
        let queues = self.spec.ports.iter().filter_map(|port| self.listeners.queue(port.port));
        Usage {
            at: clock::wall_millis() / 1000,
            life: self.running.keys().next_back().copied().unwrap_or(0),
            instances: u16::try_from(self.running.len()).unwrap_or(u16::MAX),
            current: memory.current,
            anon: memory.anon,
            file: memory.file,
            shmem: memory.shmem,
            kernel: memory.kernel,
            cpu: used.zip(passed).filter(|(_, passed)| *passed > 0.1).map(|(us, passed)| {
                // Microseconds a second are a ten-thousandth of a percent.
                us as f64 / passed / 10_000.0
            }),
            throttled_ms: throttled.map(|us| us / 1000),
            pids,
            pressure,
            read: since(io.map(|io| io.0), io_before.map(|io| io.0)),
            written: since(io.map(|io| io.1), io_before.map(|io| io.1)),
            queue: queues.map(|(waiting, _)| u64::from(waiting)).reduce(|a, b| a + b),
            restarts: before.map_or(0, |before| {
                u16::try_from(self.ends.saturating_sub(before.ends)).unwrap_or(u16::MAX)
            }),
        }
    }

    /// Judges the history when it is time: a verdict that gets worse is an event, and a leak may be met by a reload.
    pub(super) fn judge_if_due(&mut self, now: Duration, is_close: bool) {
        let pause = if is_close { JUDGE_CLOSE_EVERY } else { JUDGE_EVERY };
        if now < self.past.judge_at.min(self.past.judged_at + pause) {
            return;
        }
        (self.past.judged_at, self.past.judge_at) = (now, now + pause);
        let wall = clock::wall_millis() / 1000;
        if self.past.history.is_none() {
            return;
        }
        let looks = match Past::looks(&self.places.history(&self.name), wall) {
            Ok(looks) => looks,
            Err(error) => {
                self.past.leak = LeakStatus::unknown();
                let text = format!("its history could not be read: {error}");
                self.write_event(None, EventKind::Warning { text });
                return;
            }
        };
        let ceiling = self.spec.limits.memory_max * u64::from(self.spec.instances);
        let judged = LeakStatus::from(leak::judge(&looks, ceiling));
        let (before, after) = (self.past.leak.verdict, judged.verdict);
        self.past.leak = judged.clone();
        let is_worse = after > before && after >= LeakVerdict::Suspected;
        let is_well = before >= LeakVerdict::Suspected && after < LeakVerdict::Watching;
        if is_worse || is_well {
            self.write_event(None, EventKind::Leak(judged));
        }
        if after == LeakVerdict::Leaking
            && self.spec.leak.action == LeakAction::Reload
            && let Some(used) = self.past.anon
            && leak::is_time_to_reload(&looks, used, ceiling)
        {
            self.reload_for_leak();
        }
        drop(looks);
        // As at a start: no harm where it fails.
        let _ = memory::give_back();
    }

    fn reload_for_leak(&mut self) {
        let is_steady =
            self.environment.phase() == Phase::Online && !self.is_under_order() && !self.is_ending;
        if !is_steady {
            return;
        }
        let event = match self.can_reload() {
            Ok(()) => {
                self.pending.push_back(Event::Reload);
                let text = "it is reloaded, since it leaks and this is a quiet minute".to_owned();
                EventKind::Note { text }
            }
            Err(why) => {
                EventKind::Warning { text: format!("it leaks, and cannot be reloaded: {why}") }
            }
        };
        self.write_event(None, event);
    }
}
