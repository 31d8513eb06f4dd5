//! The two clocks: monotonic for decisions, wall time for people.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time on `CLOCK_MONOTONIC`: back-off, windows and time limits run on it, so that a wall clock
/// set by hand or by NTP changes nothing.
#[must_use]
pub fn monotonic() -> Duration {
    to_duration(clock_gettime(ClockId::Monotonic))
}

/// A time in whole milliseconds; one of more than 64 bits is the longest.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970, UTC.
#[must_use]
pub fn wall_millis() -> u64 {
    u64::try_from(to_duration(clock_gettime(ClockId::Realtime)).as_millis()).unwrap_or(0)
}

/// A time in milliseconds since 1970 as RFC 3339 in whole seconds; `None` where it is out of all range.
#[must_use]
pub fn rfc3339(millis: u64) -> Option<String> {
    let seconds = i64::try_from(millis / 1_000).ok()?;
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

fn to_duration(time: rustix::time::Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// This boot of the host (proc_sys_kernel(5), `random/boot_id`): what counts from it means nothing in
/// another.
///
/// # Errors
/// The kernel does not say.
pub fn boot_id() -> std::io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}
