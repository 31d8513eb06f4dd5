//! unshare of util-linux: namespaces of processes and mounts, and nothing else.

use std::path::Path;
use std::process::Command;

use super::Cage;
use crate::manager::first_line;

pub struct Unshare;

impl Cage for Unshare {
    fn name(&self) -> &'static str {
        "unshare -pfm"
    }

    fn version(&self) -> Result<String, String> {
        first_line(Command::new("unshare").arg("--version"))
    }

    fn command(&self, _: &Path, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.arg("-pfm").arg(program).args(words);
        command
    }
}
