//! Whether an instance is ready: it listens on the ports of its environment and, where that is asked for, has said so.

use std::os::fd::AsFd as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::instance::Running;
use super::run::Monitor;
use crate::model::{Phase, Ready};
use crate::sys::clock;

/// The most times in a second that an instance is listened to: what it says besides is of no interest.
const MOST_WORDS: u32 = 200;

/// `process.send("ready")`, as Node writes it: a line of JSON.
const MESSAGE: &[u8] = b"\"ready\"";

/// See [`Words::state`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State(Ready, bool, bool);

/// What an instance says of itself.
#[derive(Debug, Default)]
pub struct Words {
    /// What it was started with.
    pub awaited: Ready,
    /// The line that has not ended yet; of a long one only as much as tells that it is another.
    line: Vec<u8>,
    taken: super::budget::Budget,
    /// It has said that it is ready.
    pub has_said: bool,
    /// It listens on all its ports.
    pub listens: bool,
    /// Both was said to the state machine.
    pub is_told: bool,
}

impl Words {
    /// Of an instance that is started so.
    pub fn of(awaited: Ready) -> Self {
        Self { awaited, ..Self::default() }
    }

    /// What goes over to another program in this one's place: what is awaited, whether that was said, and whether
    /// it listens.
    pub fn state(&self) -> State {
        State(self.awaited, self.has_said, self.listens)
    }

    /// Goes on with that.
    pub fn resume(State(awaited, has_said, listens): State) -> Self {
        Self { awaited, has_said, listens, ..Self::default() }
    }

    fn is_ready(&self) -> bool {
        self.listens && (self.has_said || matches!(self.awaited, Ready::Ports | Ready::Health))
    }

    /// Takes what came over a channel of Node's.
    fn take_stream(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    self.has_said |= self.line == MESSAGE;
                    self.line.clear();
                }
                _ if self.line.len() > MESSAGE.len() => {}
                _ => self.line.push(*byte),
            }
        }
    }

    /// Takes a message of sd_notify(3).
    fn take_message(&mut self, bytes: &[u8]) {
        self.has_said |= bytes.split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
    }
}

impl Running {
    /// Until when it is not listened to.
    pub(super) fn words_rest_until(&self, now: Duration) -> Option<Duration> {
        self.says.as_ref()?;
        self.words.taken.empty_until(MOST_WORDS, now)
    }

    /// It listens, and all that is missing is its word.
    pub(super) fn is_awaited(&self) -> bool {
        self.words.listens && !self.words.is_ready()
    }
}

impl Monitor {
    /// Instance `id` says something.
    pub(super) fn take_words(&mut self, id: u32) {
        let Some(running) = self.running.get_mut(&id) else { return };
        let Some(says) = &running.says else { return };
        running.words.taken.take(MOST_WORDS, clock::monotonic());
        let mut bytes = [0; 4096];
        match rustix::io::read(says.as_fd(), &mut bytes) {
            Ok(count) if running.words.awaited == Ready::Notify => {
                running.words.take_message(&bytes[..count]);
            }
            // It has closed its end, or has ended.
            Ok(0) => running.says = None,
            Ok(count) => running.words.take_stream(&bytes[..count]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => running.says = None,
        }
        self.look_at_readiness(id);
    }

    /// Instance `id` listens on all its ports, or has none.
    pub(super) fn ports_are_met(&mut self, id: u32) {
        if let Some(running) = self.running.get_mut(&id) {
            running.words.listens = true;
        }
        self.look_at_readiness(id);
    }

    /// Goes on in another program's place: what is still on its way up is asked again.
    pub(super) fn look_at_readiness_of_all(&mut self) {
        let instances = self.environment.instances();
        let starting = instances.filter(|(_, instance)| instance.phase() == Phase::Starting);
        for id in starting.map(|(id, _)| id).collect::<Vec<_>>() {
            self.look_at_readiness(id);
        }
    }

    fn look_at_readiness(&mut self, id: u32) {
        let Some(running) = self.running.get_mut(&id) else { return };
        if running.words.is_ready() && !std::mem::replace(&mut running.words.is_told, true) {
            self.is_listening(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_may_come_in_pieces_and_no_other_is_taken_for_it() {
        let heard = |pieces: &[&str]| {
            let mut words = Words::default();
            pieces.iter().for_each(|piece| words.take_stream(piece.as_bytes()));
            words.has_said
        };
        assert!(heard(&["\"ready\"\n"]) && heard(&["{\"a\":1}\n\"rea", "dy\"", "\n"]));
        let long = "x".repeat(10_000) + "\"ready\"\n";
        for other in
            ["\"ready\"", "ready\n", "\"ready\" \n", "\"not ready\"\n", &long, "[\"ready\"]\n"]
        {
            assert!(!heard(&[other]), "{other}");
        }
        let mut words = Words::default();
        words.take_message(b"STATUS=READY=1\nXREADY=1");
        assert!(!words.has_said);
        words.take_message(b"STATUS=up\nREADY=1");
        assert!(words.has_said);
    }
}
