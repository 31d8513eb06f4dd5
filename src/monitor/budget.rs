//! How often something may happen in a second: what an app can make happen without pause costs a bounded
//! part of the monitor's time.

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What was used of the present second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    since: Duration,
    times: u32,
}

impl Budget {
    /// Uses one of `most` a second; `false` when all are used.
    pub fn take(&mut self, most: u32, now: Duration) -> bool {
        if now >= self.since + SECOND {
            *self = Self { since: now, times: 0 };
        }
        let has_some = self.times < most;
        self.times += u32::from(has_some);
        has_some
    }

    /// When there is some again, if all of `most` are used now.
    pub fn empty_until(&self, most: u32, now: Duration) -> Option<Duration> {
        let end = self.since + SECOND;
        (self.times >= most && now < end).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_and_the_next_has_them_again() {
        let at = |millis| Duration::from_secs(5) + Duration::from_millis(millis);
        let mut budget = Budget::default();
        let taken = (0..900).filter(|millis| budget.take(3, at(*millis))).count();
        assert_eq!((taken, budget.empty_until(3, at(900))), (3, Some(at(1000))));
        assert_eq!(budget.empty_until(3, at(1000)), None);
        assert!(budget.take(3, at(1000)));
        assert_eq!(budget.empty_until(3, at(1000)), None);
    }
}
