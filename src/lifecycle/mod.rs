//! The state machine of an environment, pure: `step(event, now)` gives the actions to do.
//!
//! ```text
//!            Start                    Running
//! (nothing) ───────► Starting ───────────────► Up
//!                      │  │ Ended / NotStarted   │ Ended
//!                      │  └──────────┬───────────┘
//!      Stop, Restart,  │             ▼
//!      SoftCeiling     │           Gone ── wanted online, policy agrees ──► retry at … ──► Starting
//!                      ▼             ▲  └─ policy or give-up ─────────────► rests until an order
//!                   Stopping ────────┘ Ended
//!                      │ grace is over: Kill (the whole cgroup)
//!                      ▼
//!                   Stopping, killed
//! ```
//!
//! - An instance's phase owns its data; `Gone` is its absence from the set.
//! - A new instance is launched only for one that is gone: never more than wanted, but for one more
//!   while a reload replaces them one by one (`reload`).
//! - `Stop` clears every pending retry, so a restart cannot overtake it.
//! - A wanted environment always has a next step: a live instance, a retry, or a stated reason.
#![forbid(unsafe_code)]

mod instance;
#[cfg(test)]
mod properties;
mod reload;
#[cfg(test)]
mod reload_tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use instance::{Instance, InstancePhase};
use reload::Reload;
use serde::{Deserialize, Serialize};

use crate::model::{Cause, Phase, Restart, Wanted};
use crate::policy::restart::{History, Verdict};

/// What happens to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Run it; clears what it gave up and every pause.
    Start,
    /// End it, gracefully.
    Stop,
    /// End what runs, gracefully, and run it anew without a pause.
    Restart,
    /// Replace every instance by a new one, which must be ready before the old one is asked to end.
    Reload,
    /// The instance runs and is ready.
    Running {
        /// Which.
        id: u32,
    },
    /// The instance could not be started at all.
    NotStarted {
        /// Which.
        id: u32,
    },
    /// The instance was not started, since a port of the environment is somebody else's.
    Blocked {
        /// Which.
        id: u32,
    },
    /// That somebody may have gone.
    Unblocked,
    /// The instance and all its processes are gone; `cause` as the kernel's counters and the status
    /// tell it, before what was asked of it is considered.
    Ended {
        /// Which.
        id: u32,
        /// `Exit`, `Crash` or `MemoryCeiling`.
        cause: Cause,
    },
    /// The instance has more memory that cannot be reclaimed than the soft ceiling allows.
    SoftCeiling {
        /// Which.
        id: u32,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a new instance under this number.
    Launch {
        /// Its number.
        id: u32,
    },
    /// Let no new connection come to an instance that is about to be asked to end.
    Relieve {
        /// Which.
        old: u32,
        /// Who gets them.
        new: u32,
    },
    /// Send the stop signal to the app of the instance.
    Signal {
        /// Which.
        id: u32,
    },
    /// Kill every process of the instance.
    Kill {
        /// Which.
        id: u32,
    },
    /// Write down that an instance ended.
    Record {
        /// Which.
        id: u32,
        /// The cause in the end.
        cause: Cause,
    },
    /// Write down that the next try comes after a pause.
    Pause {
        /// How long.
        delay: Duration,
    },
    /// A reload has ended.
    Reloaded {
        /// The new instance that failed, and how; the old ones go on.
        failed: Option<(u32, String)>,
    },
    /// Write down that there is no next try.
    Rest {
        /// Why.
        reason: String,
        /// It gave up (an operator must look), or its policy wants no restart.
        gave_up: bool,
    },
}

/// The rules of an environment that the machine needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// `[restart]`.
    pub restart: Restart,
    /// `[stop] grace`.
    pub grace: Duration,
    /// How many instances are wanted.
    pub instances: u32,
}

/// No further try until an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Resting {
    reason: String,
    gave_up: bool,
}

/// An environment. Saved, it is for another program in this process's place: its times are this boot's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    rules: Rules,
    wanted: Wanted,
    instances: BTreeMap<u32, Instance>,
    next_id: u32,
    history: History,
    /// Not before this moment is a missing instance launched.
    retry: Option<Duration>,
    resting: Option<Resting>,
    /// How many launches since `Start` came after the first ones.
    restarts: u32,
    launches: u32,
    /// Not saved: nothing is handed over in the midst of one.
    #[serde(skip)]
    reload: Option<Reload>,
    is_blocked: bool,
}

impl Environment {
    /// An environment at rest; `first_id` is the number of its first instance.
    #[must_use]
    pub fn new(rules: Rules, first_id: u32) -> Self {
        Self {
            rules,
            wanted: Wanted::Stopped,
            instances: BTreeMap::new(),
            next_id: first_id,
            history: History::default(),
            retry: None,
            resting: None,
            restarts: 0,
            launches: 0,
            reload: None,
            is_blocked: false,
        }
    }

    /// Takes new rules, from a profile that was edited.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Goes on resting where an earlier monitor was killed.
    pub fn resume_rest(&mut self, reason: &str, gave_up: bool) {
        self.wanted = Wanted::Online;
        self.resting = Some(Resting { reason: reason.to_owned(), gave_up });
    }

    /// Goes on counting after `Start` where an earlier monitor was killed.
    pub fn resume_count(&mut self, restarts: u32) {
        self.restarts = restarts;
    }

    /// One step; `now` is on the monotonic clock.
    pub fn step(&mut self, event: &Event, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        match *event {
            Event::Start => {
                if self.wanted == Wanted::Stopped {
                    (self.restarts, self.launches) = (0, 0);
                }
                self.order(Wanted::Online);
            }
            Event::Stop => {
                self.end_reload("it was ordered to stop", &mut actions);
                self.order(Wanted::Stopped);
                self.stop_all(Cause::Stopped, now, &mut actions);
            }
            Event::Restart => {
                self.end_reload("it was ordered to restart", &mut actions);
                self.order(Wanted::Online);
                self.stop_all(Cause::Restarted, now, &mut actions);
            }
            Event::SoftCeiling { id } => {
                let grace = self.rules.grace;
                if let Some(instance) = self.instances.get_mut(&id)
                    && instance.ask_to_stop(Cause::MemoryHigh, now + grace)
                {
                    actions.push(Action::Signal { id });
                }
            }
            Event::Reload => self.begin_reload(&mut actions),
            Event::Running { id } => {
                if let Some(instance) = self.instances.get_mut(&id) {
                    instance.came_up(now);
                }
                self.reload_is_up(id, now, &mut actions);
            }
            Event::Blocked { id } => {
                if self.instances.remove(&id).is_some() {
                    self.reload_is_gone(id, Cause::StartFailed, &mut actions);
                    // It was no start, and no restart.
                    if self.launches > self.rules.instances {
                        self.restarts = self.restarts.saturating_sub(1);
                    }
                    self.launches = self.launches.saturating_sub(1);
                    self.is_blocked = true;
                }
            }
            Event::Unblocked => self.is_blocked = false,
            Event::NotStarted { id } => self.gone(id, Cause::StartFailed, now, &mut actions),
            Event::Ended { id, cause } => self.gone(id, cause, now, &mut actions),
            Event::Tick => {}
        }
        self.go_on_reloading(now, &mut actions);
        self.trim(now, &mut actions);
        for (id, instance) in &mut self.instances {
            if instance.is_overdue(now) {
                actions.push(Action::Kill { id: *id });
            }
        }
        self.fill(now, &mut actions);
        actions
    }

    fn order(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        self.retry = None;
        self.resting = None;
        self.is_blocked = false;
        self.history.clear();
    }

    fn stop_all(&mut self, cause: Cause, now: Duration, actions: &mut Vec<Action>) {
        for (id, instance) in &mut self.instances {
            if instance.ask_to_stop(cause, now + self.rules.grace) {
                actions.push(Action::Signal { id: *id });
            }
        }
    }

    fn gone(&mut self, id: u32, kernel_says: Cause, now: Duration, actions: &mut Vec<Action>) {
        let Some(instance) = self.instances.remove(&id) else { return };
        let cause = instance.cause_of_end(kernel_says);
        actions.push(Action::Record { id, cause });
        if self.reload_is_gone(id, cause, actions) {
            return;
        }
        let was_ordered =
            matches!(cause, Cause::Stopped | Cause::Restarted) || instance.was_ordered_to_stop();
        if self.wanted == Wanted::Stopped || was_ordered || self.resting.is_some() {
            return;
        }
        match self.history.died(&self.rules.restart, cause, instance.uptime(now), now) {
            Verdict::After(delay) => {
                self.retry = Some(now + delay);
                if !delay.is_zero() {
                    actions.push(Action::Pause { delay });
                }
            }
            Verdict::Rest(reason) => self.rest(reason, false, actions),
            Verdict::GiveUp(reason) => self.rest(reason, true, actions),
        }
    }

    fn rest(&mut self, reason: String, gave_up: bool, actions: &mut Vec<Action>) {
        actions.push(Action::Rest { reason: reason.clone(), gave_up });
        self.retry = None;
        self.resting = Some(Resting { reason, gave_up });
    }

    /// Whether it is time for what is missing.
    fn may_launch(&self, now: Duration) -> bool {
        let is_due = self.retry.is_none_or(|at| now >= at);
        let is_held_up = self.resting.is_some() || self.is_blocked;
        self.wanted == Wanted::Online && is_due && !is_held_up
    }

    /// Launches what is missing, if it is its time.
    fn fill(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if !self.may_launch(now) {
            return;
        }
        self.retry = None;
        while self.live() < self.rules.instances {
            self.launch(self.free_place(), now, actions);
        }
    }

    fn launch(&mut self, place: u32, now: Duration, actions: &mut Vec<Action>) -> u32 {
        let id = self.next_id;
        // Group names must not repeat while one exists; after four billion starts they may.
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.instances.insert(id, Instance::starting(now, place));
        self.launches = self.launches.saturating_add(1);
        if self.launches > self.rules.instances {
            self.restarts = self.restarts.saturating_add(1);
        }
        actions.push(Action::Launch { id });
        id
    }

    /// The lowest number among the instances that none has.
    fn free_place(&self) -> u32 {
        let taken: Vec<u32> = self.instances.values().map(Instance::place).collect();
        (0..).find(|place| !taken.contains(place)).unwrap_or(0)
    }

    /// The number of an instance among the others.
    #[must_use]
    pub fn place(&self, id: u32) -> u32 {
        self.instances.get(&id).map_or(0, Instance::place)
    }

    /// Asks those to end that are more than wanted, those of the highest numbers. Where a number is missing, since that
    /// one was dead when fewer were ordered or failed in a reload, one beyond or twice there makes room once it may be
    /// launched: 0 always has an instance.
    fn trim(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let staying = self.instances.iter().filter(|(_, one)| one.phase() != Phase::Stopping);
        let mut staying: Vec<(u32, u32)> = staying.map(|(id, one)| (one.place(), *id)).collect();
        staying.sort_unstable();
        let ending = if self.may_launch(now) && !self.is_reloading() {
            let mut last = None;
            staying.retain(|(place, _)| {
                *place >= self.rules.instances || last.replace(*place) == Some(*place)
            });
            staying
        } else {
            let wanted = self.rules.instances.saturating_add(u32::from(self.is_replacing()));
            staying.split_off(staying.len().min(wanted as usize))
        };
        for (_, id) in ending.into_iter().rev() {
            if let Some(instance) = self.instances.get_mut(&id)
                && instance.ask_to_stop(Cause::Stopped, now + self.rules.grace)
            {
                actions.push(Action::Signal { id });
            }
        }
    }

    fn live(&self) -> u32 {
        u32::try_from(self.instances.len()).unwrap_or(u32::MAX)
    }

    /// When to step next at the latest, if nothing happens.
    #[must_use]
    pub fn next_step(&self) -> Option<Duration> {
        let deadlines = self.instances.values().filter_map(Instance::deadline);
        deadlines.chain(self.retry).chain(self.reload_deadline()).min()
    }

    /// What an operator sees.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let is = |phase| self.instances.values().any(|instance| instance.phase() == phase);
        let all_live = self.live() >= self.rules.instances;
        let up = self.instances.values().filter(|one| one.phase() == Phase::Online).count();
        match self.wanted {
            // One more may come or go, as in a reload.
            Wanted::Online if up >= self.rules.instances as usize && self.resting.is_none() => {
                Phase::Online
            }
            _ if is(Phase::Stopping) => Phase::Stopping,
            Wanted::Stopped => Phase::Stopped,
            Wanted::Online => match &self.resting {
                Some(resting) if resting.gave_up => Phase::Errored,
                Some(_) if self.instances.is_empty() => Phase::Stopped,
                _ if is(Phase::Starting) => Phase::Starting,
                _ if self.is_blocked => Phase::Blocked,
                _ if all_live => Phase::Online,
                _ => Phase::Backoff,
            },
        }
    }

    /// What is wanted.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Why there is no next try, and whether it gave up.
    #[must_use]
    pub fn rest_state(&self) -> Option<(&str, bool)> {
        self.resting.as_ref().map(|resting| (resting.reason.as_str(), resting.gave_up))
    }

    /// Whether it waits for a port.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// When the next try is.
    #[must_use]
    pub fn next_try(&self) -> Option<Duration> {
        self.retry
    }

    /// Deaths in a row.
    #[must_use]
    pub fn unstable(&self) -> u32 {
        self.history.in_a_row()
    }

    /// Restarts since `Start`.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// The number that the next instance gets.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// The live instances.
    pub fn instances(&self) -> impl Iterator<Item = (u32, &Instance)> {
        self.instances.iter().map(|(id, instance)| (*id, instance))
    }

    /// Whether nothing runs any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }
}
