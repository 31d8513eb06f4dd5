//! Where the time of a start goes: what was done, from when to when, on the monotonic clock, which is one for all
//! processes of a host. Always noted: a step costs two looks at the clock, and tells afterwards what a crash took.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::monotonic;

/// The most steps of one process, and the longest name of one that is taken over, in characters.
const MOST: usize = 64;
const LONGEST: usize = 80;

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// By which process: `runner`, `monitor`, `init`, `app`.
    pub by: Cow<'static, str>,
    /// The instance that it was done for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// What.
    pub step: Cow<'static, str>,
    /// From then on, in microseconds on the monotonic clock.
    pub began_us: u64,
    /// Until then.
    pub ended_us: u64,
}

/// What one process does, one step after the other.
#[derive(Debug, Clone)]
pub struct Trace {
    by: &'static str,
    last: Duration,
    steps: Vec<TraceStep>,
}

impl Trace {
    /// Begins now.
    #[must_use]
    pub fn begin(by: &'static str) -> Self {
        Self { by, last: monotonic(), steps: Vec::new() }
    }

    /// What was done since the step before.
    pub fn did(&mut self, step: &'static str) {
        let now = monotonic();
        let (began_us, ended_us) = (micros(self.last), micros(now));
        self.last = now;
        if self.steps.len() >= MOST {
            return;
        }
        let (by, step) = (Cow::Borrowed(self.by), Cow::Borrowed(step));
        self.steps.push(TraceStep { by, instance: None, step, began_us, ended_us });
    }

    /// Takes over what another process did, which may say anything.
    pub fn take(&mut self, steps: Vec<TraceStep>) {
        let short = |text: Cow<'static, str>| match text.chars().count() {
            ..=LONGEST => text,
            _ => text.chars().take(LONGEST).collect(),
        };
        self.steps.extend(steps.into_iter().take(MOST).map(|step| TraceStep {
            by: short(step.by),
            step: short(step.step),
            ..step
        }));
    }

    /// All of it.
    #[must_use]
    pub fn steps(&self) -> &[TraceStep] {
        &self.steps
    }

    /// The same, where nothing more is done.
    #[must_use]
    pub fn into_steps(self) -> Vec<TraceStep> {
        self.steps
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_one_another_and_anothers_are_bounded() {
        let mut trace = Trace::begin("here");
        trace.did("one");
        trace.did("two");
        let [one, two] = trace.steps() else { panic!("{trace:?}") };
        assert!(one.began_us <= one.ended_us && one.ended_us == two.began_us);
        let long = TraceStep { step: "é".repeat(1000).into(), ..two.clone() };
        trace.take(vec![long; 1000]);
        assert_eq!(trace.steps().len(), 2 + MOST);
        assert_eq!(trace.steps()[2].step.chars().count(), LONGEST);
    }
}
