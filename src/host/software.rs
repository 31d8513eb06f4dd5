//! What is installed: systemd as the first process, and Node where a cage can see it.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::sys::command;

/// Whether systemd is the first process, as sd_booted(3) finds out.
#[must_use]
pub fn is_systemds() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Looks at what is installed.
pub fn examine() -> Vec<Finding> {
    let is_systemd = is_systemds();
    let version = is_systemd.then(systemd_version).flatten();
    vec![judge_systemd(is_systemd, version), judge_node(node_in_path().as_deref())]
}

fn systemd_version() -> Option<u32> {
    parse_systemd_version(&command::run("systemctl", &["--version"]).ok()?)
}

/// The number in `systemd 252 (252.38-1~deb12u1)`.
fn parse_systemd_version(text: &str) -> Option<u32> {
    text.strip_prefix("systemd ")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn judge_systemd(is_first: bool, version: Option<u32>) -> Finding {
    const TOPIC: &str = "systemd";
    match (is_first, version) {
        (false, _) => Finding::degraded(
            TOPIC,
            "systemd is not the first process: nothing starts the runner at boot or brings it back",
            "start \"swrun daemon\" from what this machine boots with",
        ),
        (true, None) => Finding::unknown(TOPIC, "the version of systemd"),
        (true, Some(version)) if version < 247 => Finding::degraded(
            TOPIC,
            format!("systemd {version}: tested are 247 and later"),
            "Debian 11, Ubuntu 22.04 and later have it",
        ),
        (true, Some(version)) => Finding::good(TOPIC, format!("systemd {version}")),
    }
}

/// Where a shell finds `node`, links resolved.
fn node_in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("node")).find(|p| p.is_file())?;
    found.canonicalize().ok()
}

/// A Node below a home folder (nvm, fnm, volta) is not visible in a cage, nor to other users.
fn judge_node(node: Option<&Path>) -> Finding {
    let Some(node) = node else {
        return Finding::degraded(
            "node",
            "there is no \"node\" in PATH: an app in Node needs its full path in the profile",
            "install Node for the whole machine, as with apt",
        );
    };
    let shown = node.display();
    if ["/root", "/home"].iter().any(|home| node.starts_with(home)) {
        return Finding::degraded(
            "node",
            format!("\"{shown}\" lies in a home folder, which no cage shows"),
            "install Node for the whole machine, or name its folder in the profile as readable",
        );
    }
    Finding::good("node", shown.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn the_version_of_systemd() {
        assert_eq!(parse_systemd_version("systemd 252 (252.38-1~deb12u1)\n+PAM"), Some(252));
        assert_eq!(parse_systemd_version("systemd 257~rc1"), Some(257));
        assert_eq!(parse_systemd_version("sysvinit 3"), None);
        assert_eq!(judge_systemd(true, Some(252)).level, Level::Good);
        assert_eq!(judge_systemd(true, Some(237)).level, Level::Degraded);
        assert_eq!(judge_systemd(false, None).level, Level::Degraded);
        assert_eq!(judge_systemd(true, None).level, Level::Degraded);
    }

    #[test]
    fn a_node_in_a_home_folder_is_seen_by_no_cage() {
        let level = |path: &str| judge_node(Some(Path::new(path))).level;
        assert_eq!(level("/usr/bin/node"), Level::Good);
        assert_eq!(level("/root/.nvm/versions/node/v22/bin/node"), Level::Degraded);
        assert_eq!(level("/home/a/.volta/bin/node"), Level::Degraded);
        assert_eq!(level("/homeless/bin/node"), Level::Good);
        assert_eq!(judge_node(None).level, Level::Degraded);
    }
}
