//! Managers of the crates registry that take no part, and why.

use std::path::Path;

use crate::manager::{Manager, Peer};

pub struct LeftOut {
    pub name: &'static str,
    pub why: &'static str,
}

pub const PMC: LeftOut = LeftOut {
    name: "pmc 2.0.0",
    why: "it does not build with this compiler, by its lock file or by newer crates",
};

pub const PMDAEMON: LeftOut = LeftOut {
    name: "pmdaemon 0.1.4",
    why: "nothing of it stays after its command, and a program that dies stays dead",
};

impl Peer for LeftOut {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> Result<String, String> {
        Err(self.why.to_owned())
    }

    fn up(&self, _: &Path) -> Box<dyn Manager> {
        unreachable!("it has no version")
    }
}
