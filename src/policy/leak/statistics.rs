//! Trends of a series, by ranks and medians: neither a spike nor a distribution that is not normal moves them. The
//! tests hold them against what pymannkendall and scipy say.

/// The rank correlation with time, and how likely chance is to make one as strong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Kendall's S: pairs that rise less pairs that fall.
    pub s: f64,
    /// Its variance under "no trend", ties counted.
    pub variance: f64,
    /// By how much autocorrelation multiplies the variance.
    pub inflation: f64,
}

impl Trend {
    /// S in units of its deviation, corrected by one for continuity. What looks better for being
    /// anti-correlated is not taken for better.
    #[must_use]
    pub fn z(&self) -> f64 {
        self.z_inflated_by(self.inflation.max(1.0))
    }

    /// The same with another inflation.
    #[must_use]
    pub fn z_inflated_by(&self, inflation: f64) -> f64 {
        let deviation = (self.variance * inflation).sqrt();
        match deviation > 0.0 && self.s != 0.0 {
            true => (self.s - self.s.signum()) / deviation,
            false => 0.0,
        }
    }
}

/// The test of Mann (1945) and Kendall (1975) on `values` at equal distances, with the variance corrected for
/// autocorrelation as Hamed and Rao (1998) do: by the ranks of what is left without the trend, at each lag where
/// they are correlated at 5 %. Fewer than four values have no trend.
#[must_use]
pub fn mann_kendall(values: &[f64]) -> Trend {
    let n = values.len();
    if n < 4 {
        return Trend { s: 0.0, variance: 0.0, inflation: 1.0 };
    }
    let mut s = 0.0;
    for (index, earlier) in values.iter().enumerate() {
        for later in &values[index + 1..] {
            s += sign(later - earlier);
        }
    }
    let count = n as f64;
    let mut variance = count * (count - 1.0) * (2.0 * count + 5.0);
    for ties in ties(values) {
        let ties = ties as f64;
        variance -= ties * (ties - 1.0) * (2.0 * ties + 5.0);
    }
    variance /= 18.0;
    let slope = sen_slope(values).unwrap_or(0.0);
    let detrended: Vec<f64> =
        values.iter().enumerate().map(|(at, value)| value - (at as f64 + 1.0) * slope).collect();
    Trend { s, variance, inflation: inflation(&ranks(&detrended)) }
}

/// Hamed and Rao's factor n/n*.
fn inflation(ranks: &[f64]) -> f64 {
    /// The normal distribution's quantile of 1 - 0.05/2.
    const Z: f64 = 1.959_963_984_540_054;
    let n = ranks.len() as f64;
    let mean = ranks.iter().sum::<f64>() / n;
    let whole: f64 = ranks.iter().map(|rank| (rank - mean).powi(2)).sum();
    if whole == 0.0 {
        return 1.0;
    }
    let bound = Z / n.sqrt();
    let mut sum = 0.0;
    for lag in 1..ranks.len() {
        let pairs = ranks.iter().zip(&ranks[lag..]);
        let correlation = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / whole;
        if correlation.abs() > bound {
            let lag = lag as f64;
            sum += (n - lag) * (n - lag - 1.0) * (n - lag - 2.0) * correlation;
        }
    }
    1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum
}

/// The slope of Theil (1950) and Sen (1968): the median of the slopes of all pairs, per step. `None` for fewer
/// than two values.
#[must_use]
pub fn sen_slope(values: &[f64]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(values.len() * values.len().saturating_sub(1) / 2);
    for (index, earlier) in values.iter().enumerate() {
        for (distance, later) in values[index + 1..].iter().enumerate() {
            slopes.push((later - earlier) / (distance as f64 + 1.0));
        }
    }
    median(&mut slopes)
}

/// The median; the order of `values` is lost. `None` where there are none.
#[must_use]
pub fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    match is_even {
        true => Some(f64::midpoint(below.iter().copied().fold(f64::MIN, f64::max), upper)),
        false => Some(upper),
    }
}

/// The median distance from the median; the order of `values` is lost. `None` where there are none.
#[must_use]
pub fn spread(values: &mut [f64]) -> Option<f64> {
    let middle = median(values)?;
    values.iter_mut().for_each(|value| *value = (*value - middle).abs());
    median(values)
}

/// How likely a normal variable is to be farther from its mean than `z` deviations, on either side.
#[must_use]
pub fn two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

fn sign(difference: f64) -> f64 {
    if difference == 0.0 { 0.0 } else { difference.signum() }
}

/// How many values are equal, for each value there is.
fn ties(values: &[f64]) -> Vec<usize> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(<[f64]>::len).collect()
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|index| ranks[*index] = rank);
        before += equal.len();
    }
    ranks
}
