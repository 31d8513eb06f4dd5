//! What `swrun setup` does to a host, step by step: planned from the profiles, done by `host`.

use std::fmt;
use std::path::PathBuf;

/// One step; shown with the command line that does the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetupStep {
    /// A system group.
    MakeGroup {
        /// Its name.
        name: String,
    },
    /// A system user that nobody can log in as.
    MakeUser {
        /// Its name.
        name: String,
        /// Its home, which is not made by this step; absolute.
        home: PathBuf,
        /// A group of this name is there already, and becomes the primary group.
        has_group: bool,
    },
    /// A folder that is not there yet, in one that is (or is made by an earlier step).
    MakeFolder {
        /// Absolute, without links.
        path: PathBuf,
        /// The user that gets it, by name or number, with its primary group.
        owner: String,
        /// Permission bits.
        mode: u32,
    },
}

/// Programs and arguments of the steps that are done by a program of the host.
impl SetupStep {
    /// The command line of the step, the program first.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Self::MakeGroup { name } => words(&["groupadd", "--system", name]),
            Self::MakeUser { name, home, has_group } => {
                let home = home.to_string_lossy();
                let group: &[&str] = if *has_group { &["--gid", name] } else { &["--user-group"] };
                let first = ["useradd", "--system"];
                let rest = ["--home-dir", &home, "--no-create-home", "--shell", NO_LOGIN, name];
                words(&[&first, group, &rest].concat())
            }
            Self::MakeFolder { path, owner, mode } => {
                let (mode, path) = (format!("{mode:04o}"), path.to_string_lossy());
                words(&["install", "-d", "-o", owner, "-g", owner, "-m", &mode, &path])
            }
        }
    }
}

/// The shell of a user that nobody logs in as (nologin(8)).
const NO_LOGIN: &str = "/usr/sbin/nologin";

impl fmt::Display for SetupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeGroup { name } => write!(f, "make the group \"{name}\"")?,
            Self::MakeUser { name, .. } => write!(f, "make the user \"{name}\"")?,
            Self::MakeFolder { path, owner, .. } => {
                write!(f, "make the folder \"{}\" of \"{owner}\"", path.display())?;
            }
        }
        f.write_str(":")?;
        for word in self.command() {
            let is_plain = |c: char| c.is_alphanumeric() || "/._-:,+@%=".contains(c);
            if !word.is_empty() && word.chars().all(is_plain) {
                write!(f, " {word}")?;
            } else {
                write!(f, " '{}'", word.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_shows_a_line_that_a_shell_can_be_given() {
        let name = "deploy-prod".to_owned();
        let user = SetupStep::MakeUser { name, home: "/srv/it's".into(), has_group: false };
        assert_eq!(
            user.to_string(),
            "make the user \"deploy-prod\": useradd --system --user-group --home-dir \
             '/srv/it'\\''s' --no-create-home --shell /usr/sbin/nologin deploy-prod"
        );
        let (path, owner) = ("/opt/a".into(), "root".to_owned());
        let folder = SetupStep::MakeFolder { path, owner, mode: 0o755 };
        assert!(folder.to_string().ends_with(": install -d -o root -g root -m 0755 /opt/a"));
    }
}
