//! swrun beside its rivals: the same work under each that can be had here, in one run, into one table.
//!
//! `cargo bench --bench peers -- [WORK...]` measures (all of it takes an hour) and keeps each sample in `docs/benchmarks`;
//! `-- page` makes `docs/benchmarks.md` of what is kept. `SWRUN_PEERS` is the folder that `benches/peers/install` made.

mod cages;
#[path = "../common/mod.rs"]
mod common;
mod lab;
mod manager;
mod managers;
mod page;
mod result;
mod work;

use std::path::{Path, PathBuf};

use lab::Lab;

/// The folder of the rivals.
fn peers_folder() -> PathBuf {
    let folder = std::env::var_os("SWRUN_PEERS").expect("SWRUN_PEERS: see benches/README.md");
    std::fs::canonicalize(folder).expect("the folder of benches/peers/install")
}

/// The version of an unpacked package of Debian.
fn debian(package: &str) -> Result<String, String> {
    let packages = peers_folder().join("debian/packages");
    let names = std::fs::read_dir(packages).map_err(|error| error.to_string())?;
    let start = format!("{package}_");
    let found = names.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_prefix(&start)?.split('_').next()?.to_owned())
    });
    found.ok_or_else(|| "it is not among the unpacked packages".to_owned())
}

fn kept() -> PathBuf {
    std::env::var_os("SWRUN_PEERS_OUT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks"),
        PathBuf::from,
    )
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.iter().any(|word| word == "page") {
        return write_page();
    }
    std::fs::create_dir_all(kept()).expect("our own folder");
    let lab = Lab::new();
    for (name, how) in work::ALL {
        let is_here = !["systemd", "emulated"].contains(name);
        if words.is_empty() && is_here || words.iter().any(|word| word == name) {
            eprintln!("peers: {name}");
            let mut run = lab.run(name);
            how(&lab, &mut run);
            let text = serde_json::to_string_pretty(&run).expect("plain data");
            std::fs::write(kept().join(format!("{name}.json")), text + "\n").expect("our own file");
        }
    }
}

fn write_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let runs = page::kept(&docs.join("benchmarks"));
    for run in &runs {
        if let Some(svg) = page::picture(run) {
            std::fs::write(docs.join(format!("benchmarks/{}.svg", run.work)), svg).expect("ours");
        }
    }
    let words = std::fs::read_to_string(docs.join("benchmarks/words.md")).expect("it is there");
    std::fs::write(docs.join("benchmarks.md"), page::markdown(&runs, &words)).expect("ours");
}
