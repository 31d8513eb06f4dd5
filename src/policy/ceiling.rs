//! When the soft ceiling is met for good, and when memory is looked at again.

use std::time::Duration;

/// How long a flood of the kernel's soft events is answered once: page cache alone raises thousands.
pub const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// Between two samples of a quiet environment.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Between two samples when memory is over [`CLOSE_PERCENT`] of a ceiling.
pub const SAMPLE_CLOSE_EVERY: Duration = Duration::from_secs(1);

/// From where on memory is watched closely.
pub const CLOSE_PERCENT: u64 = 80;

/// Whether memory that cannot be reclaimed is over the soft ceiling. Page cache never counts, and
/// what could not be read decides nothing.
#[must_use]
pub fn is_over_soft(unreclaimable: Option<u64>, memory_high: Option<u64>) -> bool {
    matches!((unreclaimable, memory_high), (Some(now), Some(high)) if now > high)
}

/// When to sample next: closely while `current` is near the lower of the two ceilings.
#[must_use]
pub fn next_sample(current: Option<u64>, memory_high: Option<u64>, memory_max: u64) -> Duration {
    let ceiling = memory_high.unwrap_or(memory_max).min(memory_max);
    match current {
        Some(now) if now / CLOSE_PERCENT >= ceiling / 100 => SAMPLE_CLOSE_EVERY,
        _ => SAMPLE_EVERY,
    }
}

/// The moment of the next sample, `pause` after `now` or a little earlier, on a monotonic clock that all share. There are
/// ten moments in each pause, and whose `place` ends with the same digit looks at the same one: monitors that wake together
/// find the kernel's code and the program's in the caches, and not all wake at once.
#[must_use]
pub fn next_sample_at(now: Duration, pause: Duration, place: u32) -> Duration {
    let pause = pause.as_nanos().max(10);
    let own = pause / 10 * u128::from(place % 10);
    // The first one after `now` that is `own` beside a multiple of the pause.
    let turn = (now.as_nanos() + pause - own) / pause;
    let nanos = u64::try_from(turn * pause + own).unwrap_or(u64::MAX);
    Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_reclaimed_meets_the_soft_ceiling() {
        assert!(is_over_soft(Some(101), Some(100)));
        assert!(!is_over_soft(Some(100), Some(100)));
        assert!(!is_over_soft(None, Some(100)), "unknown decides nothing");
        assert!(!is_over_soft(Some(u64::MAX), None), "off unless set");
    }

    #[test]
    fn each_looks_in_its_own_tenth_and_keeps_to_it() {
        let ms = Duration::from_millis;
        for (place, pause) in (0..25).flat_map(|p| [(p, SAMPLE_EVERY), (p, SAMPLE_CLOSE_EVERY)]) {
            let mut now = ms(12_345);
            for _ in 0..3 {
                let at = next_sample_at(now, pause, place);
                assert!(at > now && at <= now + pause, "{place}: {at:?}");
                assert_eq!(
                    at.as_nanos() % pause.as_nanos(),
                    (pause / 10 * (place % 10)).as_nanos()
                );
                // Woken late, it keeps its place.
                assert_eq!(next_sample_at(at + ms(90), pause, place), at + pause);
                now = at;
            }
        }
        assert_eq!(next_sample_at(ms(0), SAMPLE_EVERY, 20), SAMPLE_EVERY);
    }

    #[test]
    fn memory_is_watched_closely_near_a_ceiling() {
        let m = |n: u64| n << 20;
        assert_eq!(next_sample(Some(m(79)), None, m(100)), SAMPLE_EVERY);
        assert_eq!(next_sample(Some(m(81)), None, m(100)), SAMPLE_CLOSE_EVERY);
        assert_eq!(next_sample(Some(m(45)), Some(m(50)), m(100)), SAMPLE_CLOSE_EVERY);
        assert_eq!(next_sample(None, None, m(100)), SAMPLE_EVERY);
    }
}
