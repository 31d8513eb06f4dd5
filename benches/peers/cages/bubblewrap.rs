//! bubblewrap, from Debian: a root of its own, other namespaces but the network's, no capabilities.

use std::path::Path;
use std::process::Command;

use super::Cage;
use crate::debian;

pub struct Bubblewrap;

impl Cage for Bubblewrap {
    fn name(&self) -> &'static str {
        "bubblewrap"
    }

    fn version(&self) -> Result<String, String> {
        debian("bubblewrap")
    }

    fn command(&self, folder: &Path, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]);
        command.args(["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]);
        command.args(["--tmpfs", "/tmp", "--cap-drop", "ALL", "--bind"]);
        command.arg(folder).arg(folder).arg("--").arg(program).args(words);
        command
    }
}
