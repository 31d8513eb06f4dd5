use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, poll};
use swrun::model::Phase;
use swrun::sys::channel;
use swrun::wire::keep::{Call, Message, Request};

use super::rounds;
use crate::cages;
use crate::common::bed::Bed;
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
    let mut monitor = Monitor::connect(&bed);
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
        monitor.start();
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

/// A connection to the environment's monitor, as the runner has one.
struct Monitor {
    socket: OwnedFd,
    calls: u64,
}

impl Monitor {
    fn connect(bed: &Bed) -> Self {
        let path = bed.root().join("run/swrun/env/caged/sock");
        Self { socket: channel::connect(&path).expect("the monitor listens"), calls: 0 }
    }

    fn start(&mut self) {
        self.calls += 1;
        let call = Call { id: self.calls, request: Request::Start };
        let call = serde_json::to_vec(&call).expect("plain data");
        channel::send(self.socket.as_fd(), &call, &[]).expect("the monitor reads");
    }

    /// Waits until the instance is gone, its group too, for the `ends`-th time.
    fn wait_for_rest(&mut self, ends: u64) {
        loop {
            let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
            poll(&mut polled, None).expect("poll");
            let message = channel::receive(self.socket.as_fd()).expect("readable");
            let message = message.expect("the monitor lives");
            match serde_json::from_slice(&message.bytes).expect("of this version") {
                Message::Changed(brief) if brief.ends >= ends && brief.phase == Phase::Stopped => {
                    return;
                }
                _ => {}
            }
        }
    }
}
