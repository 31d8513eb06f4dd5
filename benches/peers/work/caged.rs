use std::process::Stdio;

use swrun::wire::keep::Request;

use super::rounds;
use crate::cages;
use crate::common::bed::Bed;
use crate::common::monitor::Monitor;
use crate::common::{Stamped, Stamps, build, now, text};
use crate::lab::{Lab, add};
use crate::result::Run;

const FIGURE: &str = "to main(), ms";

/// In turn. The app ends with 0, so the environment rests, its monitor stays, and `Start` starts it again.
pub fn measure(_: &Lab, run: &mut Run) {
    let bed = Bed::running();
    let program = build(&bed);
    let caged =
        Stamped::new(&bed, &program, "caged", &["exit", "0"], "[restart]\npolicy = \"on-failure\"");
    bed.swrun(&["start", "caged"]);
    let mut monitor = Monitor::connect(&bed, "caged");
    monitor.wait_for_rest(1);
    let folder = bed.root().join("others");
    std::fs::create_dir(&folder).expect("our own folder");
    run.peers.truncate(1);
    run.missing.clear();
    let mut others = Vec::new();
    for cage in cages::all() {
        match cage.version() {
            Ok(version) => {
                run.peers.push((cage.name().to_owned(), version));
                let own = folder.join(others.len().to_string());
                std::fs::create_dir(&own).expect("our own folder");
                let stamps = Stamps::new(&own.join("stamps"));
                let app = own.join("app");
                std::fs::copy(&program, &app).expect("our own folder");
                others.push((cage, own, app, stamps));
            }
            Err(why) => run.missing.push((cage.name().to_owned(), why)),
        }
    }
    for round in 0..rounds(40) as usize {
        let begin = now();
        monitor.ask(Request::Start);
        monitor.wait_for_rest(round as u64 + 2);
        add(run, FIGURE, "swrun", (caged.stamps.born(round + 1) - begin) as f64 / 1e6);
        for (cage, own, app, stamps) in &others {
            let words = [text(&stamps.path), "exit", "0"];
            let mut command = cage.command(own, app, &words);
            let begin = now();
            let output = command.stdin(Stdio::null()).output().expect("it can be started");
            assert!(output.status.success(), "{command:?}: {output:?}");
            add(run, FIGURE, cage.name(), (stamps.born(round) - begin) as f64 / 1e6);
        }
    }
    bed.end();
}
