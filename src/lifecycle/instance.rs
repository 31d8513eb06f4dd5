//! One instance: a phase that owns its data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Cause, Phase};

/// Where an instance is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstancePhase {
    /// Launched, not ready yet.
    Starting,
    /// Ready.
    Up {
        /// Since when.
        since: Duration,
    },
    /// Asked to end.
    Stopping {
        /// Why.
        cause: Cause,
        /// Since when it had been up, if it was.
        since: Option<Duration>,
        /// Until when it has time.
        deadline: Duration,
        /// It has had its time, and was killed.
        killed: bool,
    },
}

/// An instance that is not gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    launched: Duration,
    #[serde(default)]
    place: u32,
    phase: InstancePhase,
}

impl Instance {
    pub(super) fn starting(now: Duration, place: u32) -> Self {
        Self { launched: now, place, phase: InstancePhase::Starting }
    }

    /// Its number among the instances, from 0.
    #[must_use]
    pub fn place(&self) -> u32 {
        self.place
    }

    pub(super) fn came_up(&mut self, now: Duration) {
        if self.phase == InstancePhase::Starting {
            self.phase = InstancePhase::Up { since: now };
        }
    }

    /// `true` when it was not asked before. A later order only changes the reason, never the time.
    pub(super) fn ask_to_stop(&mut self, why: Cause, until: Duration) -> bool {
        let since = match &mut self.phase {
            InstancePhase::Starting => None,
            InstancePhase::Up { since } => Some(*since),
            InstancePhase::Stopping { cause, .. } => {
                *cause = if why == Cause::MemoryHigh { *cause } else { why };
                return false;
            }
        };
        let deadline = until;
        self.phase = InstancePhase::Stopping { cause: why, since, deadline, killed: false };
        true
    }

    /// `true` once, when its grace is over.
    pub(super) fn is_overdue(&mut self, now: Duration) -> bool {
        match &mut self.phase {
            InstancePhase::Stopping { deadline, killed, .. } if !*killed && now >= *deadline => {
                *killed = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            InstancePhase::Stopping { deadline, killed: false, .. } => Some(deadline),
            _ => None,
        }
    }

    /// A breach while it was asked to end stays a breach; else what was asked of it is the cause.
    pub(super) fn cause_of_end(&self, kernel_says: Cause) -> Cause {
        match (&self.phase, kernel_says) {
            (_, Cause::MemoryCeiling | Cause::StartFailed) => kernel_says,
            (InstancePhase::Stopping { killed: true, .. }, _) => Cause::Deadline,
            (InstancePhase::Stopping { cause, .. }, _) => *cause,
            (InstancePhase::Starting | InstancePhase::Up { .. }, _) => kernel_says,
        }
    }

    pub(super) fn was_ordered_to_stop(&self) -> bool {
        matches!(
            self.phase,
            InstancePhase::Stopping { cause: Cause::Stopped | Cause::Restarted, .. }
        )
    }

    /// How long it was up; nothing, if it never was.
    #[must_use]
    pub fn uptime(&self, now: Duration) -> Duration {
        self.came_up_at().map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// When it came up, if it did.
    #[must_use]
    pub fn came_up_at(&self) -> Option<Duration> {
        match self.phase {
            InstancePhase::Up { since } => Some(since),
            InstancePhase::Stopping { since, .. } => since,
            InstancePhase::Starting => None,
        }
    }

    /// When it was launched.
    #[must_use]
    pub fn launched(&self) -> Duration {
        self.launched
    }

    /// What an operator sees.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase {
            InstancePhase::Starting => Phase::Starting,
            InstancePhase::Up { .. } => Phase::Online,
            InstancePhase::Stopping { .. } => Phase::Stopping,
        }
    }
}
