//! The statistics of the leak detector against PyPI's pymannkendall and scipy, on series of every kind.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use fastrand::Rng;
use serde_json::Value;
use swrun::policy::leak::statistics::{mann_kendall, sen_slope, two_sided};

/// Series of 5 to 60 values: noise, trends, ties, steps, what wanders, what is flat but for a value.
fn series(random: &mut Rng) -> Vec<f64> {
    let count = random.usize(5..=60);
    let slope = [0.0, 0.01, 0.3, -0.2][random.usize(..4)];
    let grain = [0.0, 0.5, 4.0][random.usize(..3)];
    let kind = random.usize(..4);
    let mut level = 0.0;
    let values = (0..count).map(|at| {
        let noise = random.f64() + random.f64() - 1.0;
        level = match kind {
            0 => noise,
            1 => level * 0.8 + noise,
            2 if at > count / 2 => 5.0 + noise,
            2 => noise,
            _ => f64::from(u8::from(at == count / 3)),
        };
        let value = 100.0 + slope * at as f64 + level;
        if grain > 0.0 { (value / grain).round() * grain } else { value }
    });
    values.collect()
}

#[test]
fn they_are_those_of_pymannkendall_and_scipy() {
    let python = std::env::var_os("SWRUN_PYPI").map(|venv| PathBuf::from(venv).join("bin/python"));
    let Some(python) = python.filter(|python| python.exists()) else {
        println!("skipped: SWRUN_PYPI names no virtual environment with pymannkendall and scipy");
        return;
    };
    let seed = Rng::new().u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let all: Vec<Vec<f64>> = (0..500).map(|_| series(&mut random)).collect();
    let mut child = Command::new(python)
        .arg("tests/fixtures/statistics.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut stdin = child.stdin.take().expect("a pipe");
    let lines: Vec<String> =
        all.iter().map(|one| serde_json::to_string(one).expect("JSON") + "\n").collect();
    let writes = std::thread::spawn(move || stdin.write_all(lines.concat().as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writes.join().expect("no panic").expect("it reads all");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(said.lines().count(), all.len(), "{said}");
    let mut compared = 0;
    for (series, line) in all.iter().zip(said.lines()) {
        let theirs: Value = serde_json::from_str(line).expect("JSON");
        let trend = mann_kendall(series);
        let same = |name: &str, ours: f64| {
            let Some(wanted) = theirs[name].as_f64() else { return };
            let bound = 1e-9 * wanted.abs().max(1.0);
            assert!((ours - wanted).abs() <= bound, "{name}: {ours} for {wanted}, of {series:?}");
        };
        same("s", trend.s);
        same("variance", trend.variance);
        same("z", trend.z_inflated_by(1.0));
        same("p", two_sided(trend.z_inflated_by(1.0)));
        same("scipy_p", two_sided(trend.z_inflated_by(1.0)));
        let slope = sen_slope(series).expect("two values");
        same("slope", slope);
        same("scipy_slope", slope);
        // Theirs has no meaning where the correction makes the variance negative.
        if theirs["corrected_variance"].as_f64().is_some_and(|variance| variance > 0.0) {
            same("corrected_variance", trend.variance * trend.inflation);
            same("corrected_z", trend.z_inflated_by(trend.inflation));
            compared += 1;
        }
    }
    assert!(compared > 300, "{compared}");
}
