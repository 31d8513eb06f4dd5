//! Whether and when a dead instance is started again.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Cause, Restart, RestartPolicy};

/// The least pause after a start that failed before the app ran.
const START_FAILED_PAUSE: Duration = Duration::from_millis(100);

/// What the deaths so far teach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Deaths since the last calm.
    in_a_row: u32,
    /// When the deaths of the give-up window were.
    recent: VecDeque<Duration>,
}

/// What follows a death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Start again after a pause.
    After(Duration),
    /// The policy wants no restart.
    Rest(String),
    /// Too many deaths; only an operator starts it again.
    GiveUp(String),
}

impl History {
    /// Deaths in a row, without calm between.
    #[must_use]
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// An operator's order clears everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Records a death at `now` of an instance that was up for `uptime`, and decides.
    ///
    /// The pause starts at `first_delay` and doubles with each death in a row up to `max_delay`; an
    /// instance that was up for longer than `max_delay` has calmed it down.
    pub fn died(
        &mut self,
        rules: &Restart,
        cause: Cause,
        uptime: Duration,
        now: Duration,
    ) -> Verdict {
        if uptime > rules.max_delay {
            self.in_a_row = 0;
        }
        let first = match cause {
            // Nothing of the app ran: without a pause this would only burn the machine.
            Cause::StartFailed => rules.first_delay.max(START_FAILED_PAUSE),
            _ => rules.first_delay,
        };
        let pause = pause(first, rules.max_delay, self.in_a_row);
        self.in_a_row = self.in_a_row.saturating_add(1);
        match (rules.policy, cause) {
            (RestartPolicy::Never, _) => {
                return Verdict::Rest("it ended, and its restart policy is \"never\"".into());
            }
            (RestartPolicy::OnFailure, Cause::Exit) => {
                return Verdict::Rest(
                    "it ended with code 0, and its restart policy is \"on-failure\"".into(),
                );
            }
            (RestartPolicy::OnFailure | RestartPolicy::Always, _) => {}
        }
        if rules.give_up_after > 0 {
            self.recent.push_back(now);
            self.recent.retain(|at| now.saturating_sub(*at) <= rules.within);
            if self.recent.len() >= rules.give_up_after as usize {
                return Verdict::GiveUp(format!(
                    "it died {} times within {}, and give-up-after is {}",
                    self.recent.len(),
                    crate::model::format_duration(rules.within),
                    rules.give_up_after
                ));
            }
        }
        Verdict::After(pause)
    }
}

fn pause(first: Duration, longest: Duration, deaths_before: u32) -> Duration {
    let factor = 1_u32.checked_shl(deaths_before).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec_for_tests;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> Restart {
        spec_for_tests("a").restart
    }

    #[test]
    fn the_pause_doubles_up_to_its_cap_and_calms_down() {
        let mut history = History::default();
        let mut pauses = Vec::new();
        for n in 0..12 {
            match history.died(&rules(), Cause::Crash, SECOND, SECOND * n) {
                Verdict::After(pause) => pauses.push(pause.as_millis()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]
        );
        assert_eq!(history.in_a_row(), 12);
        let calm = history.died(&rules(), Cause::Crash, SECOND * 31, SECOND * 100);
        assert_eq!(calm, Verdict::After(Duration::from_millis(100)));
        assert_eq!(history.in_a_row(), 1);
    }

    #[test]
    fn it_never_gives_up_unless_told_to() {
        let mut history = History::default();
        for n in 0..100_000 {
            let verdict = history.died(&rules(), Cause::Crash, Duration::ZERO, SECOND * n);
            assert!(matches!(verdict, Verdict::After(_)));
        }
        assert!(history.recent.is_empty(), "no memory grows with the deaths");
    }

    #[test]
    fn it_gives_up_within_the_window_only() {
        let rules = Restart { give_up_after: 3, within: SECOND * 60, ..rules() };
        let mut history = History::default();
        for at in [0, 50, 120, 170] {
            let verdict = history.died(&rules, Cause::Crash, Duration::ZERO, SECOND * at);
            assert!(matches!(verdict, Verdict::After(_)), "at {at}");
        }
        let verdict = history.died(&rules, Cause::Crash, Duration::ZERO, SECOND * 175);
        assert!(matches!(verdict, Verdict::GiveUp(why) if why.contains("3 times")));
    }

    #[test]
    fn the_policy_decides_about_good_ends() {
        let died = |policy, cause| {
            History::default().died(&Restart { policy, ..rules() }, cause, SECOND, SECOND)
        };
        assert!(matches!(died(RestartPolicy::Always, Cause::Exit), Verdict::After(_)));
        assert!(matches!(died(RestartPolicy::OnFailure, Cause::Exit), Verdict::Rest(_)));
        assert!(matches!(died(RestartPolicy::OnFailure, Cause::Crash), Verdict::After(_)));
        assert!(matches!(died(RestartPolicy::Never, Cause::Crash), Verdict::Rest(_)));
    }
}
