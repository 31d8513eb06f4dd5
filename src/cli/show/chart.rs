//! A chart of blocks for a terminal.

/// Eighths of a character cell.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A chart of `values`, a column each, from 0 up to `most`, in `height` lines; what is unknown is left free.
#[must_use]
pub fn bars(values: &[Option<f64>], most: f64, height: usize) -> Vec<String> {
    let eighths: Vec<usize> = values
        .iter()
        .map(|value| {
            let share = value.unwrap_or(0.0) / most.max(f64::MIN_POSITIVE);
            let cells = (share.clamp(0.0, 1.0) * 8.0 * height as f64).round() as usize;
            // What is there is seen.
            cells.max(usize::from(value.is_some_and(|value| value > 0.0)))
        })
        .collect();
    (0..height)
        .rev()
        .map(|line| {
            let filled = |eighths: &usize| BLOCKS[eighths.saturating_sub(line * 8).min(8)];
            eighths.iter().map(filled).collect::<String>().trim_end().to_owned()
        })
        .collect()
}

/// Puts `spans` (moment and value) into `columns` of equal time from `since` to `until`: the largest of each.
#[must_use]
pub fn columns(
    spans: impl Iterator<Item = (u64, Option<f64>)>,
    since: u64,
    until: u64,
    columns: usize,
) -> Vec<Option<f64>> {
    let mut found = vec![None; columns];
    let whole = until.saturating_sub(since).max(1);
    for (at, value) in spans {
        let Some(passed) = at.checked_sub(since) else { continue };
        let column = u64::try_from(columns).unwrap_or(0) * passed / whole;
        let column = usize::try_from(column).unwrap_or(0).min(columns.saturating_sub(1));
        if let (Some(value), Some(of)) = (value, found.get_mut(column)) {
            *of = Some(of.map_or(value, |before: f64| before.max(value)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_as_high_as_its_share() {
        let values = [Some(0.0), Some(50.0), None, Some(100.0), Some(0.1), Some(900.0)];
        assert_eq!(bars(&values, 100.0, 2), ["   █ █", " █ █▁█"]);
    }

    #[test]
    fn each_span_lies_in_its_column_and_the_largest_counts() {
        let spans =
            [(100, Some(1.0)), (104, Some(3.0)), (110, None), (199, Some(2.0)), (50, Some(9.0))];
        let found = columns(spans.into_iter(), 100, 200, 4);
        assert_eq!(found, [Some(3.0), None, None, Some(2.0)]);
    }
}
