//! A span of time cut into pieces.

use super::Look;

/// What a twentieth of them is below: a trough that does not hang on one look.
pub(super) fn low(troughs: &mut [f64]) -> Option<f64> {
    let at = troughs.len() / 20;
    if troughs.is_empty() {
        return None;
    }
    Some(*troughs.select_nth_unstable_by(at, f64::total_cmp).1)
}

/// What was seen in a piece of time.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) troughs: Vec<f64>,
    /// The mean of what is known; `None`: of less than half.
    pub(super) load: Option<f64>,
}

/// Cuts the last `span` hours into pieces of `step` hours; `None` for one in which nothing was seen.
pub(super) fn pieces(looks: &[Look], span: f64, step: f64) -> Vec<Option<Piece>> {
    let count = ((span / step).round() as usize).max(1);
    let Some(last) = looks.last().map(|look| look.at) else { return Vec::new() };
    let mut found: Vec<Vec<&Look>> = vec![Vec::new(); count];
    for look in looks {
        let before = (last - look.at) as f64 / 3600.0;
        let index = (count as f64 - before / step).ceil() as usize;
        found[index.clamp(1, count) - 1].push(look);
    }
    let made = found.into_iter().map(|looks| {
        let known: Vec<f64> = looks.iter().filter_map(|look| look.load).collect();
        let load = known.iter().sum::<f64>() / known.len() as f64;
        (!looks.is_empty()).then(|| Piece {
            troughs: looks.iter().map(|look| look.trough as f64).collect(),
            load: (known.len() * 2 > looks.len()).then_some(load),
        })
    });
    made.collect()
}
