//! The reload: every instance replaced by a new one, one after the other, without a moment in which none
//! serves.
//!
//! ```text
//! launch a new one ── up ──► relieve an old one ── 0.1 s ──► ask it to end ── gone ──► the next, or done
//!        │                          │
//!        └ dead, or not up in time: ┴ it is killed, the reload has failed, the old ones go on
//! ```
//!
//! A new one that fails is no crash of the environment: nothing is counted, nothing pauses.

use std::time::Duration;

use super::instance::Instance;
use super::{Action, Environment};
use crate::model::{Cause, Phase, Wanted};

/// How long a new instance may take until it is up.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// How long an old instance lives on when new connections go to the new one: what it has just accepted
/// has its request by then. Many a server ends such connections on SIGTERM for idle ones (Node's
/// `server.close()` does since version 19).
const RELIEVED_FOR: Duration = Duration::from_millis(100);

/// A reload under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reload {
    /// The instances still to be replaced, the oldest first.
    old: Vec<u32>,
    step: Step,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The next one is to be launched.
    Next,
    /// This one is on its way up.
    Starting { id: u32, deadline: Duration },
    /// New connections go to `new`; `old` is to end when this time has come.
    Relieving { old: u32, new: u32, until: Duration },
    /// This old one is ending.
    Ending { id: u32 },
}

impl Environment {
    /// Whether a reload is under way.
    #[must_use]
    pub fn is_reloading(&self) -> bool {
        self.reload.is_some()
    }

    /// Whether `id` is the new one of a reload, on its way up beside those that serve.
    #[must_use]
    pub fn is_newcomer(&self, id: u32) -> bool {
        matches!(&self.reload, Some(Reload { step: Step::Starting { id: new, .. }, .. }) if *new == id)
    }

    pub(super) fn is_replacing(&self) -> bool {
        let step = self.reload.as_ref().map(|reload| &reload.step);
        matches!(step, Some(Step::Starting { .. } | Step::Relieving { .. }))
    }

    pub(super) fn reload_deadline(&self) -> Option<Duration> {
        match self.reload.as_ref()?.step {
            Step::Starting { deadline, .. } => Some(deadline),
            Step::Relieving { until, .. } => Some(until),
            Step::Next | Step::Ending { .. } => None,
        }
    }

    pub(super) fn begin_reload(&mut self, actions: &mut Vec<Action>) {
        self.end_reload("another reload was ordered", actions);
        let is_up = |instance: &Instance| instance.phase() == Phase::Online;
        let old = self.instances.iter().filter(|(_, instance)| is_up(instance));
        let old: Vec<u32> = old.map(|(id, _)| *id).collect();
        if old.is_empty() || self.wanted == Wanted::Stopped {
            // Nothing serves that could be replaced: whatever comes next has the new spec.
            actions.push(Action::Reloaded { failed: None });
            return;
        }
        self.reload = Some(Reload { old, step: Step::Next });
    }

    /// Launches the next one when it is its turn; gives up on one that is not up in time.
    pub(super) fn go_on_reloading(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(Reload { old, step }) = &self.reload else { return };
        match *step {
            Step::Next if old.is_empty() => {
                self.reload = None;
                actions.push(Action::Reloaded { failed: None });
            }
            // One more than wanted, and not two.
            Step::Next if self.live() > self.rules.instances => {}
            Step::Next => {
                // It has the number of the one that it replaces.
                let place = self.place(old[0]);
                let id = self.launch(place, now, actions);
                if let Some(reload) = &mut self.reload {
                    reload.step = Step::Starting { id, deadline: now + UP_WITHIN };
                }
            }
            Step::Starting { id, deadline } if now >= deadline => {
                let why = format!("it was not ready within {} s", UP_WITHIN.as_secs());
                self.abandon(id, now, actions);
                self.reload = None;
                actions.push(Action::Reloaded { failed: Some((id, why)) });
            }
            Step::Relieving { old, until, .. } if now >= until => {
                if let Some(reload) = &mut self.reload {
                    reload.step = Step::Ending { id: old };
                }
                let deadline = now + self.rules.grace;
                if let Some(instance) = self.instances.get_mut(&old)
                    && instance.ask_to_stop(Cause::Restarted, deadline)
                {
                    actions.push(Action::Signal { id: old });
                }
            }
            Step::Starting { .. } | Step::Relieving { .. } | Step::Ending { .. } => {}
        }
    }

    /// An instance is up: if it is the new one, an old one is relieved.
    pub(super) fn reload_is_up(&mut self, id: u32, now: Duration, actions: &mut Vec<Action>) {
        if !self.is_newcomer(id) {
            return;
        }
        let Some(reload) = &mut self.reload else { return };
        let old = if reload.old.is_empty() { None } else { Some(reload.old.remove(0)) };
        reload.step = match old {
            Some(old) => {
                actions.push(Action::Relieve { old, new: id });
                Step::Relieving { old, new: id, until: now + RELIEVED_FOR }
            }
            None => Step::Next,
        };
    }

    /// An instance is gone. `true` when it was the new one: then the reload has failed, and that is all.
    pub(super) fn reload_is_gone(
        &mut self,
        id: u32,
        cause: Cause,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(reload) = &mut self.reload else { return false };
        reload.old.retain(|old| *old != id);
        let is_newcomer = match reload.step {
            Step::Starting { id: new, .. } | Step::Relieving { new, .. } if new == id => true,
            Step::Relieving { old, .. } | Step::Ending { id: old } if old == id => {
                reload.step = Step::Next;
                false
            }
            _ => false,
        };
        if is_newcomer {
            let is_ready = !matches!(reload.step, Step::Starting { .. });
            let when = if is_ready { "it ended at once" } else { "it ended before it was ready" };
            self.reload = None;
            let why = format!("{when} ({})", cause.word());
            actions.push(Action::Reloaded { failed: Some((id, why)) });
        }
        is_newcomer
    }

    /// Another order came in between.
    pub(super) fn end_reload(&mut self, why: &str, actions: &mut Vec<Action>) {
        if let Some(reload) = self.reload.take() {
            let id = match reload.step {
                Step::Starting { id, .. }
                | Step::Relieving { new: id, .. }
                | Step::Ending { id } => id,
                Step::Next => 0,
            };
            actions.push(Action::Reloaded { failed: Some((id, why.to_owned())) });
        }
    }

    /// Kills one that never came up; its end is no crash.
    fn abandon(&mut self, id: u32, now: Duration, actions: &mut Vec<Action>) {
        if let Some(instance) = self.instances.get_mut(&id)
            && instance.ask_to_stop(Cause::Stopped, now)
            && instance.is_overdue(now)
        {
            actions.push(Action::Kill { id });
        }
    }
}
