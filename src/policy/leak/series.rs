//! The troughs of a span, and what in them speaks against a leak.

use super::Look;
use super::pieces::{low, pieces};
use super::statistics::{mann_kendall, median, sen_slope, spread};
use crate::model::LeakDoubt;

/// The lowest points of pieces that overlap, at equal distances.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) troughs: Vec<f64>,
    /// The mean load of each step; `None`: unknown.
    loads: Option<Vec<f64>>,
    /// The distance, in hours.
    pub(super) step: f64,
}

/// A piece is a sixth of the whole, and the next begins after a sixth of it.
pub(super) const PIECE: f64 = 1.0 / 6.0;
const STEPS_IN_PIECE: usize = 6;

impl Series {
    /// `None` where looks are missing for a whole piece, or for more than a tenth of all.
    pub(super) fn of(looks: &[Look], span: f64) -> Option<Self> {
        let step = span * PIECE / STEPS_IN_PIECE as f64;
        let steps = pieces(looks, span, step);
        let missing = steps.iter().filter(|step| step.is_none()).count();
        if missing * 10 > steps.len() {
            return None;
        }
        let mut troughs = Vec::new();
        for piece in steps.windows(STEPS_IN_PIECE) {
            let known = piece.iter().flatten();
            let mut all: Vec<f64> = known.flat_map(|piece| &piece.troughs).copied().collect();
            troughs.push(low(&mut all)?);
        }
        let loads = steps.iter().flatten().map(|step| step.load).collect();
        Some(Self { troughs, loads, step })
    }

    /// What is left without the trend: the median distance from it.
    pub(super) fn noise(&self) -> f64 {
        let slope = sen_slope(&self.troughs).unwrap_or(0.0);
        let mut rest: Vec<f64> = self
            .troughs
            .iter()
            .enumerate()
            .map(|(at, trough)| trough - slope * at as f64)
            .collect();
        spread(&mut rest).unwrap_or(0.0)
    }

    pub(super) fn doubt(&self, growth: f64) -> Option<LeakDoubt> {
        let piece = || {
            let later = self.troughs.iter().skip(STEPS_IN_PIECE);
            later.zip(&self.troughs).map(|(later, earlier)| later - earlier)
        };
        if piece().any(|rise| rise < -0.3 * growth) {
            return Some(LeakDoubt::Falls);
        }
        // A leak grows in each piece; of steps most have none.
        let mut rises: Vec<f64> = piece().collect();
        let quarter = rises.len() / 4;
        let quarter = *rises.select_nth_unstable_by(quarter, f64::total_cmp).1;
        if quarter < 0.3 * growth * PIECE {
            return Some(LeakDoubt::Steps);
        }
        if self.levels(growth) {
            return Some(LeakDoubt::Levels);
        }
        self.goes_with_load(growth).then_some(LeakDoubt::Wave)
    }

    /// Whether the end climbs much slower than the whole, or the middle does: a leak goes on.
    fn levels(&self, growth: f64) -> bool {
        let whole = growth / (self.step * (self.troughs.len() + STEPS_IN_PIECE - 1) as f64);
        let slope = |part: &[f64]| sen_slope(part).unwrap_or(0.0) / self.step;
        let half = self.troughs.len() / 2;
        let (first, second) = self.troughs.split_at(half);
        let last = &self.troughs[self.troughs.len() - self.troughs.len() / 3..];
        let (first, second) = (slope(first), slope(second));
        second < 0.4 * first
            || second < 0.4 * whole
            || slope(last) < 0.2 * whole
            || first < 0.2 * whole
    }

    /// Whether the load rises too, and by enough: memory that goes with the load grows at most by as many parts
    /// as that does, and what comes with a queue by a few times as many.
    fn goes_with_load(&self, growth: f64) -> bool {
        let Some(loads) = &self.loads else { return true };
        let middle = median(&mut loads.clone()).unwrap_or(0.0);
        let slope = sen_slope(loads).unwrap_or(0.0);
        let load = slope * loads.len() as f64 / middle.max(0.01);
        let memory = growth / self.troughs.iter().copied().fold(f64::MAX, f64::min).max(1.0);
        load > 0.2 * memory && mann_kendall(loads).z() > 3.0
    }
}
