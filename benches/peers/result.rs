//! What was measured, as it is kept beside the page: each sample, and where and with what it was taken.

use serde::{Deserialize, Serialize};

/// One run of one piece of work, with every peer that took part in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its name, and its file's.
    pub work: String,
    /// What the harness was built from.
    pub commit: String,
    /// Kernel, CPUs, memory.
    pub host: String,
    /// The day, as ISO 8601 has it.
    pub date: String,
    /// Name and exact version of each that took part, swrun first.
    pub peers: Vec<(String, String)>,
    /// Who did not, and why.
    pub missing: Vec<(String, String)>,
    /// The figures, in the order of the page.
    pub rows: Vec<Row>,
}

/// One figure of one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was measured, with its unit.
    pub figure: String,
    /// Whose.
    pub peer: String,
    /// All values, in the order in which they were taken; none where it does not do this.
    pub samples: Vec<f64>,
    /// What stands in the table instead of a value, or beside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Row {
    /// Median, least and most; `None` without a sample.
    pub fn spread(&self) -> Option<(f64, f64, f64)> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some((median, least, most))
    }
}

impl Run {
    /// The figures in the order of the page, each once.
    pub fn figures(&self) -> Vec<&str> {
        let mut figures: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !figures.contains(&row.figure.as_str()) {
                figures.push(&row.figure);
            }
        }
        figures
    }

    /// The figure of a peer.
    pub fn row(&self, figure: &str, peer: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.figure == figure && row.peer == peer)
    }
}
