//! The restart at set times: `cron`.

use std::time::Duration;

use super::run::Monitor;
use crate::formats::cron;
use crate::lifecycle::Event;
use crate::model::EventKind;
use crate::sys::clock;

/// At the latest then the clock on the wall is looked at again: it may have been set.
const LOOK_WITHIN: Duration = Duration::from_secs(30);

/// How long it waits for an order that is under way, before it looks again.
const HELD_BACK: Duration = Duration::from_millis(500);

/// One that comes so much too late (the host slept) is left out, in milliseconds.
const TOO_LATE: u64 = 15 * 60 * 1_000;

/// The next time of a line.
#[derive(Debug)]
pub struct Cron {
    line: String,
    /// In milliseconds since 1970.
    due: Option<u64>,
    /// The clock at the last look.
    seen: u64,
    look: Duration,
}

impl Monitor {
    /// When the time is to be looked at.
    pub(super) fn next_cron(&self) -> Option<Duration> {
        self.cron.as_ref().map(|cron| cron.look)
    }

    /// Restarts what runs when it is time.
    pub(super) fn look_at_cron(&mut self) {
        let now = clock::monotonic();
        if self.cron.as_ref().map(|cron| &cron.line) == self.spec.cron.as_ref()
            && self.cron.as_ref().is_none_or(|cron| cron.look > now)
        {
            return;
        }
        let is_busy = self.is_under_order();
        if let Some(cron) = self.cron.as_mut().filter(|_| is_busy) {
            // Another order is under way, which a restart would spoil.
            cron.look = now + HELD_BACK;
            return;
        }
        let wall = clock::wall_millis();
        let before = self.cron.take();
        let Some(line) = self.spec.cron.clone() else { return };
        // Of the same line, and the clock was not set back.
        let due = before.filter(|cron| cron.line == line && cron.seen <= wall).map(|cron| cron.due);
        let due = due.unwrap_or_else(|| cron::next(&line, wall));
        let is_due = due.is_some_and(|due| due <= wall);
        if is_due
            && due.is_some_and(|due| wall - due < TOO_LATE)
            && !self.running.is_empty()
            && !self.is_ending
        {
            self.write_event(
                None,
                EventKind::Note { text: format!("it is restarted by its cron \"{line}\"") },
            );
            self.pending.push_back(Event::Restart);
        }
        let due = if is_due { cron::next(&line, wall) } else { due };
        let left = due.map_or(LOOK_WITHIN, |due| Duration::from_millis(due.saturating_sub(wall)));
        self.cron = Some(Cron { line, due, seen: wall, look: now + left.min(LOOK_WITHIN) });
    }
}
