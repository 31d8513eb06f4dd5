//! Plans what the profiles need on the host: the group of swrun's operators, users, folders.
//!
//! A plan only makes what is missing and changes nothing that is there, so it is safe to repeat.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};

use super::file::{Profile, UserChoice};
use super::folders::follow;
use super::forbidden::{self, Use};
use crate::model::{EnvName, Places, SetupStep};

/// The group whose members may ask the runner for status, logs and operation.
const OPERATORS: &str = "swrun";
/// Folders above `base`: root's, open to pass.
const ABOVE: u32 = 0o755;
/// Folders of the environment: its user's, which deploys into them; closed to the other users.
const INSIDE: u32 = 0o750;

/// What is on the host of all that profiles name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetupFacts {
    /// Groups that are there.
    pub groups: BTreeSet<String>,
    /// Users that are there.
    pub users: BTreeSet<String>,
    /// Paths of profiles, each as its longest part that is there (without links) and the rest.
    pub paths: BTreeMap<PathBuf, (PathBuf, PathBuf)>,
    /// Numbers of environments with `user = "auto"`.
    pub auto_uids: BTreeMap<EnvName, u32>,
}

impl SetupFacts {
    /// Asks this host for what the profiles name. Paths that no profile may open are left out, so
    /// that nothing is made there; `resolve` says why.
    ///
    /// # Errors
    /// The user or group database cannot be asked: then nothing is known to be missing.
    pub fn gather(
        profiles: &[&Profile],
        auto_uids: BTreeMap<EnvName, u32>,
        places: &Places,
    ) -> nix::Result<Self> {
        let mut facts = Self { auto_uids, ..Self::default() };
        if Group::from_name(OPERATORS)?.is_some() {
            facts.groups.insert(OPERATORS.to_owned());
        }
        for profile in profiles {
            if let UserChoice::Named(user) = &profile.user.value {
                if User::from_name(user)?.is_some() {
                    facts.users.insert(user.clone());
                }
                if Group::from_name(user)?.is_some() {
                    facts.groups.insert(user.clone());
                }
            }
            for path in folders(profile) {
                let Some((there, rest)) = split(&path) else { continue };
                if forbidden::reason(&there.join(&rest), Use::Writable, places).is_none() {
                    facts.paths.insert(path, (there, rest));
                }
            }
        }
        Ok(facts)
    }
}

/// The folders that an environment works in: `base` first, then what lies in or beside it.
fn folders(profile: &Profile) -> Vec<PathBuf> {
    let base = &profile.base.value;
    let writable = profile.writable.iter().map(|path| base.join(&path.value));
    let releases = profile.deploy.as_ref().map(|deploy| base.join(&deploy.releases));
    let own = [base.clone(), profile.cwd.value.clone()];
    own.into_iter().chain(releases).chain(writable).collect()
}

/// The longest part of a path that is there, without links, and what is missing below it.
///
/// `None` where a link on the way is not root's: nothing is made where it leads; `resolve` says why.
fn split(path: &Path) -> Option<(PathBuf, PathBuf)> {
    for part in path.ancestors() {
        if let Ok(way) = follow(part) {
            let rest = path.strip_prefix(part).unwrap_or(Path::new("")).to_owned();
            return way.led_astray(None).is_none().then_some((way.end, rest));
        }
    }
    Some((PathBuf::from("/"), path.strip_prefix("/").unwrap_or(path).to_owned()))
}

/// The steps, in the order in which they are to be done.
#[must_use]
pub fn plan(profiles: &[&Profile], facts: &SetupFacts) -> Vec<SetupStep> {
    let mut steps = Vec::new();
    if !facts.groups.contains(OPERATORS) {
        steps.push(SetupStep::MakeGroup { name: OPERATORS.to_owned() });
    }
    let mut made = BTreeSet::new();
    for profile in profiles {
        let owner = match &profile.user.value {
            UserChoice::Named(user) => {
                if !facts.users.contains(user) && made.insert(user.clone()) {
                    let (name, home) = (user.clone(), profile.base.value.clone());
                    let has_group = facts.groups.contains(user);
                    steps.push(SetupStep::MakeUser { name, home, has_group });
                }
                user.clone()
            }
            UserChoice::Number(uid) => uid.to_string(),
            UserChoice::Auto => match facts.auto_uids.get(&profile.name.value) {
                Some(uid) => uid.to_string(),
                None => continue,
            },
        };
        let base = facts.paths.get(&profile.base.value).map(|(there, rest)| there.join(rest));
        for path in folders(profile) {
            let Some((there, rest)) = facts.paths.get(&path) else { continue };
            let mut folder = there.clone();
            for part in rest {
                folder.push(part);
                let is_end = folder == there.join(rest);
                let is_inside =
                    is_end || base.as_ref().is_some_and(|base| folder.starts_with(base));
                let (owner, mode) =
                    if is_inside { (owner.clone(), INSIDE) } else { ("root".to_owned(), ABOVE) };
                let step = SetupStep::MakeFolder { path: folder.clone(), owner, mode };
                let is_planned = |known: &SetupStep| match known {
                    SetupStep::MakeFolder { path, .. } => *path == folder,
                    _ => false,
                };
                if !steps.iter().any(is_planned) {
                    steps.push(step);
                }
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::read;

    fn profile(text: &str) -> Profile {
        let reading = read(Path::new("/a.toml"), text);
        reading.profile.unwrap_or_else(|| panic!("{:?}", reading.problems))
    }

    fn gathered(profiles: &[&Profile]) -> SetupFacts {
        let found = SetupFacts::gather(profiles, BTreeMap::new(), &Places::below("/"));
        found.expect("the database is there")
    }

    fn shown(profiles: &[&Profile], facts: &SetupFacts) -> Vec<String> {
        plan(profiles, facts).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_missing_is_planned_once_and_in_order() {
        let text = |name: &str| {
            format!(
                "name = \"{name}\"\nuser = \"deploy-none-{name}\"\ncommand = [\"node\"]\n\
                 base = \"/nowhere-at-all/{name}\"\ncwd = \"backend\"\nwritable = [\"backend/up\"]\n"
            )
        };
        let (a, b) = (profile(&text("a")), profile(&text("b")));
        let facts = gathered(&[&a, &b]);
        let steps = shown(&[&a, &b], &facts);
        let mut expected = vec!["make the group \"swrun\": groupadd --system swrun".to_owned()];
        for (name, first) in [("a", true), ("b", false)] {
            let user = format!("deploy-none-{name}");
            expected.push(format!(
                "make the user \"{user}\": useradd --system --user-group --home-dir \
                 /nowhere-at-all/{name} --no-create-home --shell /usr/sbin/nologin {user}"
            ));
            let mut folder = |path: String, user: &str, mode: &str| {
                expected.push(format!(
                    "make the folder \"{path}\" of \"{user}\": install -d -o {user} -g {user} -m {mode} {path}"
                ));
            };
            if first {
                folder("/nowhere-at-all".to_owned(), "root", "0755");
            }
            for rest in ["", "/backend", "/backend/up"] {
                folder(format!("/nowhere-at-all/{name}{rest}"), &user, "0750");
            }
        }
        if facts.groups.contains("swrun") {
            expected.remove(0);
        }
        assert_eq!(steps, expected);
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let base = temp.path().canonicalize().expect("it is there");
        std::fs::create_dir(base.join("real")).expect("a folder is made");
        std::os::unix::fs::symlink("real", base.join("link")).expect("a link is made");
        let text = format!(
            "name = \"a\"\nuser = \"daemon\"\ncommand = [\"node\"]\nbase = \"{}\"\ncwd = \"link/new\"\n",
            base.display()
        );
        let a = profile(&text);
        let mut facts = gathered(&[&a]);
        facts.groups.insert("swrun".to_owned());
        let new = base.join("real/new").display().to_string();
        let line = format!(
            "make the folder \"{new}\" of \"daemon\": install -d -o daemon -g daemon -m 0750 {new}"
        );
        assert_eq!(shown(&[&a], &facts), [line]);
        std::fs::create_dir(base.join("real/new")).expect("a folder is made");
        let mut facts = gathered(&[&a]);
        facts.groups.insert("swrun".to_owned());
        assert_eq!(shown(&[&a], &facts), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_made_where_nothing_may_be_opened() {
        let text = "name = \"a\"\nuser = \"daemon\"\ncommand = [\"node\"]\n\
                    base = \"/etc/none-such/a\"\nwritable = [\"/var/lib/swrun/x\"]\n";
        let a = profile(text);
        let folders = |step: &SetupStep| matches!(step, SetupStep::MakeFolder { .. });
        assert!(!plan(&[&a], &gathered(&[&a])).iter().any(folders));
    }
}
