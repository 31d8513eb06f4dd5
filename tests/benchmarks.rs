//! The page of the benchmarks says what was measured and nothing else: it is made anew of the raw results and compared.

#[path = "../benches/peers/page.rs"]
mod page;
#[path = "../benches/peers/result.rs"]
mod result;

use std::fs;
use std::path::{Path, PathBuf};

use result::{Row, Run};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

#[test]
fn the_page_is_made_of_what_is_kept() {
    let runs = page::kept(&docs().join("benchmarks"));
    assert!(!runs.is_empty());
    let words = fs::read_to_string(docs().join("benchmarks/words.md")).expect("it is there");
    let made = page::markdown(&runs, &words);
    let shown = fs::read_to_string(docs().join("benchmarks.md")).expect("it is there");
    let hint = "cargo bench --bench peers -- page";
    assert!(shown == made, "docs/benchmarks.md is not what {hint} makes");
    for run in &runs {
        let file = docs().join(format!("benchmarks/{}.svg", run.work));
        let shown = fs::read_to_string(&file).ok();
        assert_eq!(shown, page::picture(run), "{}: {hint}", file.display());
    }
}

#[test]
fn every_run_says_with_what_it_was_taken() {
    for run in page::kept(&docs().join("benchmarks")) {
        assert_eq!(run.peers[0].0, "swrun", "{}", run.work);
        assert!(run.host.starts_with("Linux ") && !run.commit.is_empty(), "{}", run.work);
        assert!(!run.commit.ends_with("-dirty"), "{}: of no commit", run.work);
        for row in &run.rows {
            let is_known = run.peers.iter().any(|(name, version)| {
                *name == row.peer && version.contains(|c: char| c.is_ascii_digit())
            });
            assert!(is_known, "{}: {} is of no known version", run.work, row.peer);
            let is_said = !row.samples.is_empty() || !row.note.is_empty();
            assert!(is_said, "{}: {} of {}", run.work, row.figure, row.peer);
        }
    }
}

fn row(peer: &str, samples: &[f64], note: &str) -> Row {
    Row {
        figure: "start, with 10 programs".to_owned(),
        peer: peer.to_owned(),
        samples: samples.to_vec(),
        note: note.to_owned(),
    }
}

#[test]
fn a_table_has_median_spread_and_ratio() {
    assert_eq!(row("x", &[3.0, 1.0, 2.0], "").spread(), Some((2.0, 1.0, 3.0)));
    assert_eq!(row("x", &[4.0, 1.0, 2.0, 3.0], "").spread(), Some((2.5, 1.0, 4.0)));
    assert_eq!(row("x", &[], "").spread(), None);
    let named = |name: &str| (name.to_owned(), "1".to_owned());
    let run = Run {
        work: "crash".to_owned(),
        commit: "c".to_owned(),
        host: "Linux 1".to_owned(),
        date: "2026-01-01".to_owned(),
        peers: ["swrun", "other", "none"].map(named).to_vec(),
        missing: vec![("gone".to_owned(), "it could not be had".to_owned())],
        rows: vec![
            row("swrun", &[2.0], ""),
            row("other", &[5.0, 4.0, 6.0], "late"),
            row("none", &[], "has none"),
        ],
    };
    let text = page::markdown(std::slice::from_ref(&run), "Words.");
    let line = "| start, with 10 programs | 2.00 | 5.00 (4.00 to 6.00), ×2.50; late | has none |";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("Without gone: it could not be had."), "{text}");
    let svg = page::picture(&run).expect("a figure with a number");
    assert!(svg.contains(">swrun</text>") && !svg.contains("NaN"), "{svg}");
}
