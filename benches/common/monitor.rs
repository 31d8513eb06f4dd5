//! What the runner says to a monitor, without a runner.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use swrun::model::Phase;
use swrun::sys::channel;
use swrun::wire::keep::{Call, Message, Request};

use super::bed::Bed;

/// A connection to the environment's monitor, as the runner has one.
pub struct Monitor {
    socket: OwnedFd,
    calls: u64,
}

impl Monitor {
    pub fn connect(bed: &Bed, name: &str) -> Self {
        let path = bed.root().join("run/swrun/env").join(name).join("sock");
        Self { socket: channel::connect(&path).expect("the monitor listens"), calls: 0 }
    }

    pub fn ask(&mut self, request: Request) {
        self.calls += 1;
        let call = serde_json::to_vec(&Call { id: self.calls, request }).expect("plain data");
        channel::send(self.socket.as_fd(), &call, &[]).expect("the monitor reads");
    }

    /// Waits until the instance is gone, its group too, for the `ends`-th time.
    pub fn wait_for_rest(&mut self, ends: u64) {
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
