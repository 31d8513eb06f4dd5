//! Days compared hour by hour.

use super::pieces::{low, pieces};
use super::statistics::{median, spread};
use super::{Look, MATERIAL};
use crate::model::LeakDoubt;

/// The same hours of days that follow one another: a daily wave is not in their differences.
#[derive(Debug)]
pub(super) struct Days {
    /// The slope: the median difference of all hours, for an hour.
    pub(super) per_hour: f64,
    /// The median difference of each day from the one before.
    rises: Vec<f64>,
    /// And the relative one of the load.
    loads: Vec<Option<f64>>,
    /// The share of pairs that rise.
    share: f64,
    /// The median distance of the differences from their median.
    noise: f64,
    /// Of all pieces, oldest first.
    troughs: Vec<f64>,
}

/// Into how many pieces a day is cut.
const IN_A_DAY: usize = 12;

impl Days {
    pub(super) fn of(looks: &[Look], span: f64) -> Option<Self> {
        let pieces: Vec<Option<(f64, Option<f64>)>> = pieces(looks, span, 24.0 / IN_A_DAY as f64)
            .into_iter()
            .map(|piece| piece.and_then(|mut piece| Some((low(&mut piece.troughs)?, piece.load))))
            .collect();
        let days = pieces.len() / IN_A_DAY;
        let pieces = &pieces[pieces.len() - days * IN_A_DAY..];
        let mut differences = Vec::new();
        let (mut rises, mut loads) = (Vec::new(), Vec::new());
        for day in 1..days {
            let today = &pieces[day * IN_A_DAY..(day + 1) * IN_A_DAY];
            let yesterday = &pieces[(day - 1) * IN_A_DAY..day * IN_A_DAY];
            let pairs =
                || yesterday.iter().zip(today).filter_map(|(before, after)| (*before).zip(*after));
            let mut of_day: Vec<f64> =
                pairs().map(|((before, _), (after, _))| after - before).collect();
            differences.extend_from_slice(&of_day);
            rises.push(median(&mut of_day)?);
            let before: Option<f64> = pairs().map(|((_, load), _)| load).sum();
            let after: Option<f64> = pairs().map(|(_, (_, load))| load).sum();
            loads.push(
                before.zip(after).map(|(before, after)| (after - before) / before.max(0.001)),
            );
        }
        let rising = differences.iter().filter(|difference| **difference > 0.0).count();
        let share = rising as f64 / differences.len().max(1) as f64;
        let middle = median(&mut differences)?;
        let noise = spread(&mut differences)?;
        let troughs = pieces.iter().flatten().map(|(trough, _)| *trough).collect();
        Some(Self { per_hour: middle / 24.0, rises, loads, share, noise, troughs })
    }

    /// Each day is higher than the one before, at nearly each of its hours, and about as much.
    pub(super) fn is_rise(&self, ceiling: f64) -> bool {
        let middle = self.per_hour * 24.0;
        middle > 0.0
            && middle * self.rises.len() as f64 > MATERIAL * ceiling
            && self.share > 0.85
            && middle > self.noise
            && self.rises.iter().all(|rise| *rise > 0.4 * middle)
    }

    pub(super) fn doubt(&self) -> Option<LeakDoubt> {
        let steps: Vec<f64> = self.troughs.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A wave is smooth: what a step is more than those beside it is not the wave's.
        let is_step = |of: &[f64]| of[1] - f64::midpoint(of[0], of[2]) > 6.0 * self.per_hour;
        if steps.windows(3).any(is_step) {
            return Some(LeakDoubt::Steps);
        }
        self.goes_with_load().then_some(LeakDoubt::Wave)
    }

    /// Whether the days got busier, too.
    fn goes_with_load(&self) -> bool {
        self.loads.iter().all(|load| load.is_some_and(|load| load > 0.25))
    }
}
