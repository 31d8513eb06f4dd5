//! Whether an app's memory gets worse: from the troughs of its anonymous memory, which no garbage and no page cache
//! is in.
//!
//! A life is what one instance used from its start to its end. What is judged of it is the last six hours, day,
//! three days and week, as far as it is that old, each cut into pieces of a sixth, whose lowest points are the
//! series: a garbage collector that comes more often than that is not seen. A trend by ranks and medians
//! ([`statistics`]) that is strong enough is then put to the questions of [`LeakDoubt`]; only what none of them
//! explains is a leak.
#![forbid(unsafe_code)]

mod days;
mod pieces;
mod series;
#[cfg(test)]
mod simulated;
pub mod statistics;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::{LeakDoubt, LeakStatus, LeakVerdict};

use days::Days;
use pieces::{low, pieces};
use series::{PIECE, Series};
use statistics::{mann_kendall, median, sen_slope, two_sided};

/// What was seen in one minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// When, in seconds since the epoch.
    pub at: u64,
    /// Of which life; lives follow one another.
    pub life: u32,
    /// The least anonymous memory, in bytes.
    pub trough: u64,
    /// The CPU that was used, in percent of one: what a daily wave of requests is seen by. `None`: unknown.
    pub load: Option<f64>,
    /// Of how many minutes.
    pub minutes: u16,
}

/// For so long, in seconds, each minute is looked at by itself.
const BY_THE_MINUTE: u64 = 25 * 3600;

/// So many seconds of the time before that are one look.
const TOGETHER: u64 = 600;

/// Adds the look of a minute to those of before; of times long before `now` (seconds since the epoch) there is one
/// in ten minutes, with the least of them.
pub fn add(looks: &mut Vec<Look>, look: Look, now: u64) {
    let is_old = now.saturating_sub(look.at) > BY_THE_MINUTE;
    if let Some(last) = looks.last_mut()
        && is_old
        && last.life == look.life
        && last.at / TOGETHER == look.at / TOGETHER
    {
        let (before, added) = (f64::from(last.minutes), f64::from(look.minutes));
        let mean = |(old, new): (f64, f64)| (old * before + new * added) / (before + added);
        last.load = last.load.zip(look.load).map(mean);
        last.trough = last.trough.min(look.trough);
        last.minutes += look.minutes;
        return;
    }
    looks.push(look);
}

/// What is made of a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// How bad.
    pub verdict: LeakVerdict,
    /// Growth in bytes an hour.
    pub per_hour: f64,
    /// 0 to 1: how unlikely chance is to make a trend as strong.
    pub confidence: f64,
    /// When the trend meets the ceiling.
    pub ceiling_in: Option<Duration>,
    /// What speaks against a leak.
    pub doubt: Option<LeakDoubt>,
    /// Over how much time that was seen.
    pub seen: Duration,
    /// How many lives climbed in the same way, where that is why.
    pub lives: usize,
}

impl Judgement {
    fn at_most_watching(self, doubt: LeakDoubt) -> Self {
        match self.verdict {
            LeakVerdict::Suspected | LeakVerdict::Leaking => {
                Self { verdict: LeakVerdict::Watching, doubt: Some(doubt), ..self }
            }
            LeakVerdict::Unknown | LeakVerdict::None | LeakVerdict::Watching => self,
        }
    }
}

impl From<Judgement> for LeakStatus {
    fn from(judged: Judgement) -> Self {
        if judged.verdict == LeakVerdict::Unknown {
            return Self::unknown();
        }
        let rounded = (judged.confidence * 1000.0).floor() / 1000.0;
        Self {
            verdict: judged.verdict,
            bytes_per_hour: Some(judged.per_hour as i64),
            confidence: Some(rounded),
            ceiling_in_s: judged.ceiling_in.map(|time| time.as_secs()),
            doubt: judged.doubt,
            seen_s: Some(judged.seen.as_secs()),
            lives: u32::try_from(judged.lives).ok().filter(|lives| *lives > 0),
        }
    }
}

/// What is judged, in hours, while there is as much.
const SPANS: [f64; 4] = [6.0, 24.0, 72.0, 168.0];

/// The least that is judged, in hours after the warm-up.
const SHORTEST: f64 = 0.75;

/// What is left out at the start of a life, in hours.
const WARM_UP: f64 = 0.25;

/// From this age on, in hours, a life is no longer young.
const GROWN_UP: f64 = 5.5;

/// From here on, in hours, days are compared.
const TWO_DAYS: f64 = 47.5;

/// Chance makes a trend that counts less often than this.
const CHANCE: f64 = 0.01;

/// The least growth that counts, of the ceiling.
const MATERIAL: f64 = 0.035;

/// So many lives that climb in the same way are no chance.
const ENOUGH_LIVES: usize = 3;

/// Judges a history of `looks`, oldest first, of an app whose memory may grow to `ceiling` bytes.
#[must_use]
pub fn judge(looks: &[Look], ceiling: u64) -> Judgement {
    let ceiling = ceiling.max(1) as f64;
    let lives: Vec<&[Look]> = looks.chunk_by(|a, b| a.life == b.life).collect();
    let nothing = Judgement {
        verdict: LeakVerdict::Unknown,
        per_hour: 0.0,
        confidence: 0.0,
        ceiling_in: None,
        doubt: None,
        seen: Duration::ZERO,
        lives: 0,
    };
    let Some((current, before)) = lives.split_last() else { return nothing };
    let now = judge_life(current, ceiling);
    let mut judgement = now.unwrap_or(nothing);
    if judgement.verdict < LeakVerdict::Leaking {
        let alike = climbed_alike(before, judgement, ceiling);
        if let Some(Alike { lives, per_hour, confidence }) = alike {
            judgement = Judgement {
                verdict: if lives >= ENOUGH_LIVES {
                    LeakVerdict::Leaking
                } else {
                    LeakVerdict::Suspected
                }
                .max(judgement.verdict),
                per_hour,
                confidence,
                lives,
                ..judgement
            };
        }
    }
    let last = current.last().map_or(0.0, |look| look.trough as f64);
    let hours = (ceiling - last) / judgement.per_hour;
    let does_climb = judgement.verdict >= LeakVerdict::Watching && judgement.per_hour > 0.0;
    judgement.ceiling_in = (does_climb && hours < 24.0 * 3650.0)
        .then(|| Duration::from_secs_f64((hours * 3600.0).max(0.0)));
    judgement
}

/// Whether an app that leaks and uses so many bytes is to be replaced now: when that is three quarters of its ceiling
/// and it is as little busy as in the quietest fifth of a day, or nine tenths, whatever it does.
#[must_use]
pub fn is_time_to_reload(looks: &[Look], used: u64, ceiling: u64) -> bool {
    let Some(last) = looks.last() else { return false };
    let used = used as f64 / ceiling.max(1) as f64;
    let of_a_day = looks.iter().filter(|look| last.at.saturating_sub(look.at) <= 24 * 3600);
    let mut loads: Vec<f64> = of_a_day.filter_map(|look| look.load).collect();
    let quiet = loads.len() / 5;
    let is_quiet = !loads.is_empty() && {
        let quiet = *loads.select_nth_unstable_by(quiet, f64::total_cmp).1;
        last.load.is_some_and(|load| load <= quiet)
    };
    used > 0.9 || (used > 0.75 && is_quiet)
}

/// Lives that climbed in the same way.
struct Alike {
    lives: usize,
    /// The middle slope, in bytes an hour.
    per_hour: f64,
    /// That of the least sure one.
    confidence: f64,
}

/// The lives before that climbed as the one now does: those that were long enough to know, or that met the ceiling.
fn climbed_alike(before: &[&[Look]], now: Judgement, ceiling: f64) -> Option<Alike> {
    let mut alike: Vec<Judgement> = before
        .iter()
        .rev()
        .take(4)
        .filter_map(|life| {
            let judged = judge_life(life, ceiling)?;
            let top = life.last()?.trough as f64;
            let climbed = match judged.doubt {
                None => judged.verdict >= LeakVerdict::Suspected,
                Some(LeakDoubt::Young) => top > 0.8 * ceiling || judged.seen.as_secs() > 3 * 3600,
                Some(_) => false,
            };
            (climbed && judged.verdict >= LeakVerdict::Watching).then_some(judged)
        })
        .collect();
    if now.verdict >= LeakVerdict::Suspected {
        alike.push(now);
    }
    let middle = median(&mut alike.iter().map(|life| life.per_hour).collect::<Vec<_>>())?;
    alike.retain(|life| life.per_hour > middle / 3.0 && life.per_hour < middle * 3.0);
    let confidence = alike.iter().map(|life| life.confidence).fold(1.0, f64::min);
    (alike.len() >= 2).then_some(Alike { lives: alike.len(), per_hour: middle, confidence })
}

/// Judges one life by each span that it has.
fn judge_life(life: &[Look], ceiling: f64) -> Option<Judgement> {
    let (first, last) = (life.first()?.at, life.last()?.at);
    let hours = |from: u64| (last - from) as f64 / 3600.0;
    let age = hours(first) - WARM_UP;
    if age < SHORTEST {
        return None;
    }
    let mut spans: Vec<f64> = SPANS.iter().copied().filter(|span| *span <= age).collect();
    if let Some(next) = SPANS.iter().find(|span| **span > age)
        && spans.last().is_none_or(|longest| age > longest * 1.25)
    {
        spans.push(next.min(age));
    }
    spans
        .into_iter()
        .filter_map(|span| {
            let from = life.partition_point(|look| hours(look.at) > span);
            let judged = judge_span(&life[from..], span, age, ceiling)?;
            Some(match judged.verdict {
                _ if is_known(&life[..from], &life[from..], span) => {
                    judged.at_most_watching(LeakDoubt::Falls)
                }
                _ if span < TWO_DAYS && has_waves(life, span) => {
                    judged.at_most_watching(LeakDoubt::Wave)
                }
                _ => judged,
            })
        })
        .max_by(|a, b| {
            (a.verdict, a.confidence)
                .partial_cmp(&(b.verdict, b.confidence))
                .unwrap_or(std::cmp::Ordering::Equal)
        })
}

/// Whether the load of the last day comes and goes: then memory may, too, and later.
fn has_waves(life: &[Look], span: f64) -> bool {
    let Some(last) = life.last() else { return false };
    let from = life.partition_point(|look| last.at - look.at > 24 * 3600);
    let hours = ((last.at - life[from].at) as f64 / 3600.0).max(span);
    let loads: Option<Vec<f64>> =
        pieces(&life[from..], hours, 1.5).iter().flatten().map(|piece| piece.load).collect();
    let Some(loads) = loads else { return true };
    let (least, most) = loads.iter().fold((f64::MAX, 0.0), |(least, most): (f64, f64), load| {
        (least.min(*load), most.max(*load))
    });
    most - least > 0.3 * f64::midpoint(least, most).max(0.05)
}

/// Whether memory was as high before: then it comes and goes.
fn is_known(before: &[Look], now: &[Look], span: f64) -> bool {
    let step = span * PIECE;
    let high = |looks: &[Look], span| {
        let pieces = pieces(looks, span, step).into_iter().flatten();
        pieces.filter_map(|mut piece| low(&mut piece.troughs)).reduce(f64::max)
    };
    let (Some(first), Some(last)) = (before.first(), before.last()) else { return false };
    let hours = (last.at - first.at) as f64 / 3600.0;
    hours > step && high(before, hours) >= high(now, span)
}

/// Judges what was seen in the last `span` hours of a life that is `age` hours old.
fn judge_span(looks: &[Look], span: f64, age: f64, ceiling: f64) -> Option<Judgement> {
    let series = Series::of(looks, span)?;
    let days = (span >= TWO_DAYS).then(|| Days::of(looks, span)).flatten();
    let trend = mann_kendall(&series.troughs);
    let chance = two_sided(trend.z());
    let per_hour = match &days {
        Some(days) => days.per_hour,
        None => sen_slope(&series.troughs)? / series.step,
    };
    let growth = per_hour * span;
    let is_material = growth > MATERIAL * ceiling && growth > 5.0 * series.noise();
    let is_sure = match &days {
        Some(days) => days.is_rise(ceiling),
        None => chance < CHANCE && trend.s > 0.0,
    };
    let mut judgement = Judgement {
        verdict: LeakVerdict::None,
        per_hour,
        confidence: 1.0 - chance,
        ceiling_in: None,
        doubt: None,
        seen: Duration::from_secs_f64(span * 3600.0),
        lives: 0,
    };
    if !is_material || !is_sure {
        return Some(judgement);
    }
    judgement.doubt = doubt(&series, days.as_ref(), growth, age);
    judgement.verdict = match judgement.doubt {
        None => LeakVerdict::Leaking,
        Some(LeakDoubt::Young) => LeakVerdict::Suspected,
        Some(LeakDoubt::Levels | LeakDoubt::Steps | LeakDoubt::Falls | LeakDoubt::Wave) => {
            LeakVerdict::Watching
        }
    };
    Some(judgement)
}

fn doubt(series: &Series, days: Option<&Days>, growth: f64, age: f64) -> Option<LeakDoubt> {
    let found = match days {
        Some(days) => days.doubt(),
        None => series.doubt(growth),
    };
    found.or_else(|| (age < GROWN_UP).then_some(LeakDoubt::Young))
}
