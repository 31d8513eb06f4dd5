//! Lines on their way to the host's own logs: the journal (its native protocol, systemd.io/JOURNAL_NATIVE_PROTOCOL)
//! and syslog (RFC 3164 as syslog(3) writes it to /dev/log, which adds the time itself).
//!
//! The app never waits for either: what they do not take at once is counted.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{LogRules, Places};
use crate::sys::clock;

/// Between two tries to reach a log that was not there.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Which of the two outputs of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Output {
    /// As the files are called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }

    /// `LOG_INFO` or `LOG_ERR` (syslog(3)).
    fn priority(self) -> u8 {
        match self {
            Self::Out => 6,
            Self::Err => 3,
        }
    }
}

/// Both logs of the host; by default neither.
#[derive(Debug, Default)]
pub struct Forward {
    name: String,
    journal: Option<Target>,
    syslog: Option<Target>,
    message: Vec<u8>,
}

#[derive(Debug)]
struct Target {
    what: &'static str,
    path: PathBuf,
    socket: Option<UnixDatagram>,
    not_before: Duration,
    lost: u64,
}

impl Forward {
    /// Takes up what the rules ask for; what was lost before is still told.
    pub fn follow(&mut self, name: &str, rules: &LogRules, places: &Places) {
        name.clone_into(&mut self.name);
        for (slot, wanted, what, path) in [
            (&mut self.journal, rules.journald, "the journal", "run/systemd/journal/socket"),
            (&mut self.syslog, rules.syslog, "syslog", "dev/log"),
        ] {
            match (wanted, &slot) {
                (true, None) => *slot = Some(Target::new(what, places.root().join(path))),
                (false, Some(_)) => *slot = None,
                _ => {}
            }
        }
    }

    /// Sends one line, or a piece of one.
    pub fn send(&mut self, output: Output, text: &[u8]) {
        let message = &mut self.message;
        if let Some(journal) = &mut self.journal {
            message.clear();
            for (field, value) in [
                ("SYSLOG_IDENTIFIER", self.name.as_str()),
                ("SWRUN_ENV", &self.name),
                ("SWRUN_STREAM", output.word()),
            ] {
                message.extend_from_slice(format!("{field}={value}\n").as_bytes());
            }
            message
                .extend_from_slice(format!("PRIORITY={}\nMESSAGE=", output.priority()).as_bytes());
            message.extend_from_slice(text);
            message.push(b'\n');
            journal.send(message);
        }
        if let Some(syslog) = &mut self.syslog {
            message.clear();
            // LOG_DAEMON.
            let priority = 3 << 3 | output.priority();
            message.extend_from_slice(format!("<{priority}>{}: ", self.name).as_bytes());
            message.extend_from_slice(text);
            syslog.send(message);
        }
    }

    /// What did not arrive since this was asked last: where, and how many lines.
    pub fn take_lost(&mut self) -> Vec<(&'static str, u64)> {
        let targets = [&mut self.journal, &mut self.syslog].into_iter().flatten();
        targets
            .map(|target| (target.what, std::mem::take(&mut target.lost)))
            .filter(|(_, lost)| *lost > 0)
            .collect()
    }
}

impl Target {
    fn new(what: &'static str, path: PathBuf) -> Self {
        Self { what, path, socket: None, not_before: Duration::ZERO, lost: 0 }
    }

    fn send(&mut self, message: &[u8]) {
        if self.socket.is_none() && clock::monotonic() >= self.not_before {
            self.not_before = clock::monotonic() + TRY_AGAIN;
            self.socket = UnixDatagram::unbound().ok().and_then(|socket| {
                socket.set_nonblocking(true).ok()?;
                socket.connect(&self.path).ok()?;
                Some(socket)
            });
        }
        match self.socket.as_ref().map(|socket| socket.send(message)) {
            Some(Ok(_)) => {}
            // It has no room now.
            Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => self.lost += 1,
            _ => {
                self.socket = None;
                self.lost += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_and_those_that_do_not_are_counted() {
        let root = tempfile::tempdir().expect("a folder");
        let places = Places::below(root.path());
        std::fs::create_dir_all(root.path().join("run/systemd/journal")).expect("ours");
        std::fs::create_dir_all(root.path().join("dev")).expect("ours");
        let rules = LogRules { journald: true, syslog: true, ..LogRules::default() };
        let mut forward = Forward::default();
        forward.send(Output::Out, b"to nobody");
        forward.follow("shop", &rules, &places);
        forward.send(Output::Out, b"not there");
        assert_eq!(forward.take_lost(), [("the journal", 1), ("syslog", 1)]);

        let bound = |path: &str| UnixDatagram::bind(root.path().join(path)).expect("a new path");
        let (journal, syslog) = (bound("run/systemd/journal/socket"), bound("dev/log"));
        for target in [&mut forward.journal, &mut forward.syslog].into_iter().flatten() {
            target.not_before = Duration::ZERO;
        }
        forward.send(Output::Err, b"a line \xff\x1b[2J");
        let heard = |socket: &UnixDatagram| {
            let mut buffer = [0; 512];
            let count = socket.recv(&mut buffer).expect("a message");
            buffer[..count].escape_ascii().to_string()
        };
        assert_eq!(
            heard(&journal),
            "SYSLOG_IDENTIFIER=shop\\nSWRUN_ENV=shop\\nSWRUN_STREAM=err\\nPRIORITY=3\\n\
             MESSAGE=a line \\xff\\x1b[2J\\n"
        );
        assert_eq!(heard(&syslog), "<27>shop: a line \\xff\\x1b[2J");
        assert_eq!(forward.take_lost(), []);

        // One that reads nothing holds up nobody.
        let others = LogRules { syslog: false, ..rules };
        forward.follow("shop", &others, &places);
        for _ in 0..5_000 {
            forward.send(Output::Out, b"flood");
        }
        let lost = forward.take_lost();
        assert!(lost.len() == 1 && lost[0].1 > 1_000, "{lost:?}");
    }
}
