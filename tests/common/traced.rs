//! What `--trace` shows, read back.

use super::bed::{Bed, texts};

/// From when and how long in milliseconds, by whom, and what.
#[derive(Debug)]
pub struct Step {
    pub from: f64,
    pub took: f64,
    pub by: String,
    pub what: String,
}

/// What an order with `--trace` says: its title, and the steps.
pub fn traced(bed: &Bed, words: &[&str]) -> (String, Vec<Step>) {
    let output = bed.swrun(words);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{words:?}: {out}{err}");
    let (_, trace) = out.split_once("\n\n").expect("a trace behind the outcome");
    let mut lines = trace.lines();
    let title = lines.next().expect("a title").to_owned();
    let steps = lines.skip(1).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse().unwrap_or_else(|_| panic!("{line}"));
        // Of an instance its number stands behind.
        let is_numbered = words[3].parse::<u32>().is_ok();
        let what = words[3 + usize::from(is_numbered)..].join(" ");
        Step { from: number(0), took: number(1), by: words[2].to_owned(), what }
    });
    (title, steps.collect())
}
