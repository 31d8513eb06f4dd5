//! Holds profiles against one another: what no two environments may have. The later file (in the
//! order given) gets the problem, the earlier one stays usable; the text names the place in both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::auto::assign_auto_uids;
use super::file::{At, Claims, Profile, UserChoice, read};
use super::problem::{Position, Problem, quoted, quoted_path};
use super::resolve::{HostFacts, resolve};
use super::source::Source;
use crate::model::{EnvName, EnvSpec, Protocol};

/// Everything that was found in a set of profiles.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The profiles without an error in themselves, in the order of the sources.
    pub profiles: Vec<CheckedProfile>,
    /// The problems of all, in the order of the sources and their texts.
    pub problems: Vec<Problem>,
}

/// A profile that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedProfile {
    /// As it stands in its file.
    pub profile: Profile,
    /// None when an error keeps it from being started; the error is among the problems.
    pub spec: Option<EnvSpec>,
}

impl Checked {
    /// Whether there is a problem that is more than a warning.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// The errors of one file.
    pub fn errors_of<'a>(&'a self, file: &'a Path) -> impl Iterator<Item = &'a Problem> {
        self.problems.iter().filter(move |problem| problem.is_error() && problem.file == file)
    }
}

/// Reads, resolves and compares profiles.
#[must_use]
pub fn check_all(sources: &[Source], host: &HostFacts) -> Checked {
    let readings: Vec<_> = sources.iter().map(|source| read(&source.file, &source.text)).collect();
    let claims: Vec<_> = readings.iter().map(|reading| &reading.claims).collect();
    let host = with_auto_uids(host, &claims);
    let mut problems: Vec<_> =
        readings.iter().flat_map(|reading| reading.problems.clone()).collect();
    problems.extend(conflicts(&claims));

    let mut profiles = Vec::new();
    for profile in readings.into_iter().filter_map(|reading| reading.profile) {
        let spec = match resolve(&profile, &host) {
            Ok(resolved) => {
                problems.extend(resolved.warnings);
                Some(resolved.spec)
            }
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        profiles.push(CheckedProfile { profile, spec });
    }
    let found: Vec<_> = profiles.iter().map(|checked| checked.spec.as_ref()).collect();
    let more = shared_gids(&profiles, &found);
    problems.extend(more);

    let order = |file: &Path| sources.iter().position(|source| source.file == file);
    problems.sort_by_cached_key(|problem| (order(&problem.file), problem.position()));
    for checked in &mut profiles {
        let file = &checked.profile.file;
        if problems.iter().any(|problem| problem.is_error() && problem.file == *file) {
            checked.spec = None;
        }
    }
    Checked { profiles, problems }
}

/// Gives a number to each `user = "auto"` that has none yet.
fn with_auto_uids(host: &HostFacts, claims: &[&Claims]) -> HostFacts {
    let wants =
        |claim: &&&Claims| matches!(&claim.user, Some(user) if user.value == UserChoice::Auto);
    let names: BTreeSet<EnvName> = claims
        .iter()
        .filter(wants)
        .filter_map(|c| c.name.as_ref())
        .map(|n| n.value.clone())
        .collect();
    let numbers: BTreeSet<u32> = claims.iter().filter_map(|claim| uid(claim, None)).collect();
    let is_taken =
        |uid| numbers.contains(&uid) || !matches!(User::from_uid(Uid::from_raw(uid)), Ok(None));
    let auto_uids = assign_auto_uids(&names, &host.auto_uids, is_taken);
    HostFacts { auto_uids, ..host.clone() }
}

/// The uid that a profile asks for; none when it is not known on this host.
fn uid(claims: &Claims, auto_uids: Option<&BTreeMap<EnvName, u32>>) -> Option<u32> {
    match &claims.user.as_ref()?.value {
        UserChoice::Number(uid) => Some(*uid),
        UserChoice::Named(name) => {
            User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
        }
        UserChoice::Auto => auto_uids?.get(&claims.name.as_ref()?.value).copied(),
    }
}

/// Where something was first claimed.
#[derive(Clone)]
struct First {
    file: PathBuf,
    at: Position,
}

impl First {
    fn shown(&self) -> String {
        format!("{}:{}:{}", self.file.display(), self.at.line, self.at.column)
    }
}

/// What is claimed twice, over all pairs of profiles.
fn conflicts(all: &[&Claims]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut names: BTreeMap<String, First> = BTreeMap::new();
    let mut targets: BTreeMap<String, First> = BTreeMap::new();
    let mut ports: BTreeMap<(u16, Protocol), First> = BTreeMap::new();
    let mut users: BTreeMap<String, First> = BTreeMap::new();
    for claims in all {
        let file = &claims.file;
        let first = |at| First { file: file.clone(), at };
        let mut report = |at, text: String, first: &First, hint: &str| {
            let text = format!("{text} at {}", first.shown());
            problems.push(Problem::error(file, at, text).with_hint(hint));
        };
        if let Some(At { value, at }) = &claims.name {
            let name = value.to_string();
            if let Some(first) = names.get(&name) {
                let text = format!("the name {} is already taken", quoted(&name));
                report(*at, text, first, "give each environment a name of its own");
            } else if let Some(first) = targets.get(&name) {
                let text = format!("the name {} is already a target", quoted(&name));
                report(*at, text, first, "a word must mean one environment");
            }
            names.entry(name).or_insert_with(|| first(*at));
        }
        if let Some(At { value, at }) = &claims.target {
            let target = value.to_string();
            let is_own = claims.name.as_ref().is_some_and(|name| name.value == *value);
            if let Some(first) = targets.get(&target) {
                let text = format!("the target {} is already taken", quoted(&target));
                report(*at, text, first, "give each environment a target of its own");
            } else if let Some(first) = names.get(&target).filter(|_| !is_own) {
                let text = format!("the target {} is already a name", quoted(&target));
                report(*at, text, first, "a word must mean one environment");
            }
            targets.entry(target).or_insert_with(|| first(*at));
        }
        for At { value, at } in &claims.ports {
            let key = (value.port, value.proto);
            if let Some(first) = ports.get(&key) {
                let text = format!("port {} is already taken", value.port);
                report(*at, text, first, "a port belongs to one environment");
            }
            ports.entry(key).or_insert_with(|| first(*at));
        }
        if let Some(At { value, at }) = &claims.user {
            // A user that does not exist yet is still one user.
            let key = match (uid(claims, None), value) {
                (Some(uid), _) => uid.to_string(),
                (None, UserChoice::Named(name)) => name.clone(),
                (None, _) => continue,
            };
            if let Some(first) = users.get(&key) {
                let text = "the user is already that of another environment,".to_owned();
                let hint = "give it a user of its own: what one user runs is not kept apart";
                report(*at, text, first, hint);
            }
            users.entry(key).or_insert_with(|| first(*at));
        }
    }
    problems.extend(overlaps(all));
    problems
}

/// Bases that are equal or nested, and paths opened by one that hold or lie in the base of another.
fn overlaps(all: &[&Claims]) -> Vec<Problem> {
    let real =
        |path: &At<PathBuf>| path.value.canonicalize().unwrap_or_else(|_| path.value.clone());
    // Whose base each path is. By components, so those within a folder come right behind it.
    let mut bases: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    let own: Vec<Option<PathBuf>> =
        all.iter().map(|claims| claims.base.as_ref().map(real)).collect();
    for (number, base) in own.iter().enumerate() {
        if let Some(base) = base {
            bases.entry(base.clone()).or_default().push(number);
        }
    }
    let meeting = |path: &Path| -> BTreeSet<usize> {
        let above = path.ancestors().skip(1).filter_map(|above| bases.get(above));
        let within = bases.range(path.to_owned()..).take_while(|(base, _)| base.starts_with(path));
        above.chain(within.map(|(_, numbers)| numbers)).flatten().copied().collect()
    };
    let mut problems = Vec::new();
    for (later, claims) in all.iter().enumerate() {
        let mut report = |own: &At<PathBuf>, path: &Path, what: &str, other: usize| {
            let theirs = all[other];
            let Some(base) = &theirs.base else { return };
            let first = First { file: theirs.file.clone(), at: base.at };
            let text = format!(
                "{what} {} and the base {} at {} lie in one another: one would open the other",
                quoted_path(path),
                quoted_path(&real(base)),
                first.shown()
            );
            let problem = Problem::error(&claims.file, own.at, text);
            problems.push(problem.with_hint("give each environment folders that no other one has"));
        };
        if let (Some(base), Some(path)) = (&claims.base, &own[later]) {
            for other in meeting(path).into_iter().filter(|other| *other < later) {
                report(base, path, "the base", other);
            }
        }
        for share in &claims.shares {
            let path = real(share);
            for other in meeting(&path).into_iter().filter(|other| *other != later) {
                report(share, &path, "the path", other);
            }
        }
    }
    problems
}

/// Environments whose users have one primary group: what is written for the group is open to both.
fn shared_gids(profiles: &[CheckedProfile], specs: &[Option<&EnvSpec>]) -> Vec<Problem> {
    let mut gids: BTreeMap<u32, First> = BTreeMap::new();
    let mut problems = Vec::new();
    for (checked, spec) in profiles.iter().zip(specs) {
        let Some(gid) = spec.map(|spec| spec.identity.gid) else { continue };
        let (file, at) = (checked.profile.file.clone(), checked.profile.user.at);
        match gids.get(&gid) {
            Some(first) => {
                let text =
                    format!("the user's group {gid} is also that of the user at {}", first.shown());
                let hint = "give each user a group of its own (`swrun setup` makes users so)";
                problems.push(Problem::warning(&file, at, text).with_hint(hint));
            }
            None => {
                gids.insert(gid, First { file, at });
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;

    use super::*;
    use crate::model::Places;

    /// Profiles `a.toml`, `b.toml`, … below a folder with the folders `x` (daemon's), `x/in`, `y`
    /// (bin's) and `z` (for the number 61001); `TOP` stands for the folder.
    fn checked(texts: &[&str]) -> Checked {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let top = temp.path().canonicalize().expect("it is there");
        for (name, owner) in [("x", 1), ("x/in", 1), ("y", 2), ("z", 61_001)] {
            fs::create_dir(top.join(name)).expect("a folder is made");
            chown(top.join(name), Some(owner), Some(owner)).expect("root may chown");
        }
        let sources: Vec<_> = texts
            .iter()
            .zip('a'..)
            .map(|(text, letter)| Source {
                file: format!("{letter}.toml").into(),
                text: text.replace("TOP", top.to_str().expect("it is text")),
            })
            .collect();
        check_all(&sources, &HostFacts::of_this_host(Places::below(top.join("root"))))
    }

    fn shown(checked: &Checked) -> Vec<String> {
        let place =
            |p: &Problem| format!("{}:{}:{}: {}", p.file.display(), p.line, p.column, p.text);
        checked.problems.iter().map(place).collect()
    }

    const X: &str = "name = \"x\"\ntarget = \"tx\"\nuser = \"daemon\"\ncommand = [\"sh\"]\n\
                     base = \"TOP/x\"\nports = [3000, \"3000/udp\"]\n";

    #[test]
    fn profiles_apart_have_no_problem() {
        let y = "name = \"y\"\ntarget = \"ty\"\nuser = \"bin\"\ncommand = [\"sh\"]\n\
                 base = \"TOP/y\"\nports = [3001]\n";
        let both = checked(&[X, y]);
        assert_eq!(shown(&both), Vec::<String>::new());
        assert!(both.profiles.iter().all(|checked| checked.spec.is_some()));
    }

    #[test]
    fn what_two_claim_is_told_with_both_places() {
        // The second differs from a sound one in one line; the place and the words of the problem.
        let sound = [
            "name = \"y\"",
            "target = \"ty\"",
            "user = \"bin\"",
            "command = [\"sh\"]",
            "base = \"TOP/y\"",
            "ports = [3001]",
        ];
        for (line, instead, column, said, first) in [
            (1, "name = \"x\"", 8, "the name \"x\" is already taken", "a.toml:1:8"),
            (1, "name = \"tx\"", 8, "is already a target", "a.toml:2:10"),
            (2, "target = \"tx\"", 10, "the target \"tx\" is already taken", "a.toml:2:10"),
            (2, "target = \"x\"", 10, "is already a name", "a.toml:1:8"),
            (6, "ports = [3001, 3000]", 16, "port 3000 is already taken", "a.toml:6:10"),
            (6, "ports = [\"3000/udp\"]", 10, "port 3000 is already taken", "a.toml:6:16"),
            (6, "read-only = [\"TOP/x/in\"]", 14, "lie in one another", "a.toml:5:8"),
        ] {
            let mut lines = sound;
            lines[line - 1] = instead;
            let found = checked(&[X, &lines.join("\n")]);
            let mine: Vec<_> = found.errors_of(Path::new("b.toml")).collect();
            let [problem] = mine.as_slice() else { panic!("{instead}: {:?}", shown(&found)) };
            assert_eq!((problem.line, problem.column), (line, column), "{instead}");
            assert!(
                problem.text.contains(said) && problem.text.contains(first),
                "{}",
                problem.text
            );
            assert_eq!(found.errors_of(Path::new("a.toml")).count(), 0);
            let usable: Vec<_> = found.profiles.iter().map(|c| c.spec.is_some()).collect();
            assert_eq!(usable, [true, false], "the earlier one stays usable");
        }
    }

    #[test]
    fn a_uid_and_a_base_are_had_once() {
        let same = "name = \"y\"\nuser = 1\ncommand = [\"sh\"]\nbase = \"TOP/x/in\"\n";
        let found = checked(&[X, same]);
        let errors: Vec<_> = found.problems.iter().filter(|p| p.is_error()).collect();
        let places: Vec<_> = errors.iter().map(|p| (p.line, p.column)).collect();
        assert_eq!(places, [(2, 8), (4, 8)], "{:?}", shown(&found));
        assert!(errors[0].text.contains("a.toml:3:8") && errors[1].text.contains("a.toml:5:8"));

        // A base over a link, and a user that is not there yet.
        let user = |name: &str, base: &str| {
            format!(
                "name = \"{name}\"\nuser = \"deploy-none\"\ncommand = [\"sh\"]\nbase = \"{base}\"\n"
            )
        };
        let found = checked(&[&user("x", "TOP/x"), &user("y", "TOP/y")]);
        assert!(
            shown(&found).iter().any(|s| s.starts_with("b.toml:2:8: the user is already")),
            "{:?}",
            shown(&found)
        );
    }

    #[test]
    fn folders_meet_from_either_side_and_names_alike_do_not() {
        let one = |name: &str, user: &str, base: &str, more: &str| {
            format!(
                "name = \"{name}\"\nuser = \"{user}\"\ncommand = [\"sh\"]\nbase = \"{base}\"\n{more}"
            )
        };
        let inner = one("i", "daemon", "TOP/x/in", "");
        for (outer, place) in [
            (one("o", "bin", "TOP/x", ""), (4, 8)),
            (one("o", "bin", "TOP/y", "read-only = [\"TOP/x\"]\n"), (5, 14)),
        ] {
            let found = checked(&[&inner, &outer]);
            let met: Vec<_> =
                found.problems.iter().filter(|p| p.text.contains("lie in one another")).collect();
            let [met] = met.as_slice() else { panic!("{:?}", shown(&found)) };
            assert_eq!(
                (met.file.as_path(), met.line, met.column),
                (Path::new("b.toml"), place.0, place.1)
            );
        }
        // "TOP/x-y" and "TOP/x.y" are beside "TOP/x", though their text begins alike.
        let beside = ["TOP/x-y", "TOP/x.y", "TOP/xy"].map(|base| one("o", "bin", base, ""));
        for other in beside {
            let found = checked(&[&one("i", "daemon", "TOP/x", ""), &other]);
            assert!(!shown(&found).iter().any(|text| text.contains("lie in one")), "{other}");
        }
    }

    #[test]
    fn a_wrong_profile_is_still_held_against_the_others() {
        let wrong =
            "name = \"x\"\nusr = \"bin\"\ncommand = [\"sh\"]\nbase = \"TOP/y\"\nports = [3000]\n";
        let found = checked(&[X, wrong]);
        let places: Vec<_> = found.problems.iter().map(|p| (p.line, p.column)).collect();
        assert_eq!(places, [(1, 1), (1, 8), (2, 1), (5, 10)], "{:?}", shown(&found));
        assert_eq!(found.profiles.len(), 1);
    }

    #[test]
    fn auto_gives_each_a_number_of_its_own() {
        let auto = |name: &str, base: &str| {
            format!(
                "name = \"{name}\"\nuser = \"auto\"\ncommand = [\"sh\"]\nbase = \"/usr/share/{base}\"\n"
            )
        };
        let found = checked(&[&auto("x", "doc"), &auto("y", "man")]);
        assert!(!found.has_errors(), "{:?}", shown(&found));
        let uids: BTreeSet<_> =
            found.profiles.iter().filter_map(|c| c.spec.as_ref()).map(|s| s.identity.uid).collect();
        assert_eq!(uids.len(), 2);
        let number = format!(
            "name = \"z\"\nuser = {}\ncommand = [\"sh\"]\nbase = \"TOP/x\"\n",
            uids.iter().next().copied().unwrap_or(0)
        );
        let found = checked(&[&auto("x", "doc"), &auto("y", "man"), &number]);
        let autos: BTreeSet<_> =
            found.profiles.iter().filter_map(|c| c.spec.as_ref()).map(|s| s.identity.uid).collect();
        assert_ne!(autos, uids, "a number that a profile names is not given away");
    }
}
