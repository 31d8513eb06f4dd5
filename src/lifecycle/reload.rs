//! The reload: every instance replaced by a new one, one after the other, without a moment in which none
//! serves.
//!
//! ```text
//! launch a new one ── up ──► ask an old one to end ── gone ──► the next, or done
//!        │
//!        └ dead, or not up in time: it is killed, the reload has failed, the old ones go on
//! ```
//!
//! A new one that fails is no crash of the environment: nothing is counted, nothing pauses.

use std::time::Duration;

use super::instance::Instance;
use super::{Action, Environment};
use crate::model::{Cause, Phase, Wanted};

/// How long a new instance may take until it is up.
const UP_WITHIN: Duration = Duration::from_secs(60);

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
        matches!(&self.reload, Some(Reload { step: Step::Starting { .. }, .. }))
    }

    pub(super) fn reload_deadline(&self) -> Option<Duration> {
        match self.reload.as_ref()?.step {
            Step::Starting { deadline, .. } => Some(deadline),
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
                let id = self.launch(now, actions);
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
            Step::Starting { .. } | Step::Ending { .. } => {}
        }
    }

    /// An instance is up: if it is the new one, the old one goes.
    pub(super) fn reload_is_up(&mut self, id: u32, now: Duration, actions: &mut Vec<Action>) {
        if !self.is_newcomer(id) {
            return;
        }
        let Some(reload) = &mut self.reload else { return };
        let old = if reload.old.is_empty() { None } else { Some(reload.old.remove(0)) };
        reload.step = match old {
            Some(id) => Step::Ending { id },
            None => Step::Next,
        };
        let grace = self.rules.grace;
        if let Some((id, instance)) = old.and_then(|id| Some((id, self.instances.get_mut(&id)?)))
            && instance.ask_to_stop(Cause::Restarted, now + grace)
        {
            actions.push(Action::Signal { id });
        }
    }

    /// An instance is gone. `true` when it was the new one: then the reload has failed, and that is all.
    pub(super) fn reload_is_gone(
        &mut self,
        id: u32,
        cause: Cause,
        actions: &mut Vec<Action>,
    ) -> bool {
        let is_newcomer = self.is_newcomer(id);
        let Some(reload) = &mut self.reload else { return false };
        reload.old.retain(|old| *old != id);
        if reload.step == (Step::Ending { id }) {
            reload.step = Step::Next;
        }
        if is_newcomer {
            self.reload = None;
            let why = format!("it ended before it was ready ({})", cause.word());
            actions.push(Action::Reloaded { failed: Some((id, why)) });
        }
        is_newcomer
    }

    /// Another order came in between.
    pub(super) fn end_reload(&mut self, why: &str, actions: &mut Vec<Action>) {
        if let Some(reload) = self.reload.take() {
            let id = match reload.step {
                Step::Starting { id, .. } | Step::Ending { id } => id,
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
