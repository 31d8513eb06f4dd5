//! Whether the program of a profile is there and can be seen from inside the cage.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::folders::{Way, follow};
use super::problem::{Severity, quoted, quoted_path};
use crate::model::DEFAULT_PATH;

/// What is wrong with the program, and what to do.
pub(super) type Finding = (Severity, String, Option<String>);

/// What the cage shows of the host's programs.
const SHOWN: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives"];

/// Where an app lives, as far as its program goes.
pub(super) struct Sight<'a> {
    pub(super) cwd: &'a Path,
    /// `base`, `writable` and `read-only`.
    pub(super) shown: Vec<&'a Path>,
    /// `PATH` of `[env]`.
    pub(super) path: Option<&'a str>,
    /// The folder of the users' homes, where version managers put programs.
    pub(super) homes: &'a Path,
}

/// Looks for the program. That it is missing is only a warning: a deployment may bring it, and a
/// start reports it anyway, with its errno.
pub(super) fn check(program: &str, sight: &Sight<'_>) -> Option<Finding> {
    if program.contains('/') {
        return check_path(&sight.cwd.join(program), sight);
    }
    let path = sight.path.unwrap_or(DEFAULT_PATH);
    let found = path.split(':').map(|folder| sight.cwd.join(folder).join(program));
    if let Some(found) = found.into_iter().find(|file| is_program(file)) {
        return check_path(&found, sight);
    }
    let text =
        format!("the program {} is in none of the folders of PATH ({path})", quoted(program));
    let hint = match elsewhere(program, sight.homes) {
        Some(found) => format!(
            "it is at {found}: add read-only = [{folder}], and write command = [{found}, …]",
            found = quoted_path(&found),
            folder = quoted_path(&room(&found, sight.homes)),
        ),
        None => "install it, or write the whole path of it into command".to_owned(),
    };
    Some((Severity::Warning, text, Some(hint)))
}

fn check_path(file: &Path, sight: &Sight<'_>) -> Option<Finding> {
    let shown = quoted_path(file);
    let way = match follow(file) {
        Ok(way) => way,
        Err(error) => {
            let text = format!("the program {shown} cannot be found: {error}");
            return Some((Severity::Warning, text, None));
        }
    };
    if let Some(hidden) = first_hidden(&way, sight) {
        let via = if hidden == file {
            String::new()
        } else {
            format!(", which leads over {}", quoted_path(&hidden))
        };
        let text = format!("the program {shown}{via} cannot be seen by the app");
        let room = room(&hidden, sight.homes);
        let hint = if room.starts_with("/root") {
            "nothing of /root is ever shown: install it for all users, as in /usr/local/bin"
                .to_owned()
        } else {
            format!("add read-only = [{}]", quoted_path(&room))
        };
        return Some((Severity::Error, text, Some(hint)));
    }
    if !is_program(&way.end) {
        let text = format!("the program {shown} is not an executable file");
        return Some((
            Severity::Warning,
            text,
            Some("see whether it is a file, and chmod a+x it".to_owned()),
        ));
    }
    None
}

/// The first link on the way, or the end, that lies in nothing that the cage shows.
fn first_hidden(way: &Way, sight: &Sight<'_>) -> Option<PathBuf> {
    let is_shown = |path: &Path| {
        let system = SHOWN.iter().map(Path::new);
        system.chain(sight.shown.iter().copied()).any(|folder| path.starts_with(folder))
    };
    let passed = way.passed.iter().filter(|(_, metadata)| !metadata.is_dir());
    passed.map(|(path, _)| path).find(|path| !is_shown(path)).cloned()
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Where version managers and archives put programs.
fn elsewhere(program: &str, homes: &Path) -> Option<PathBuf> {
    let mut folders = Vec::new();
    for home in entries(homes) {
        folders
            .extend(entries(&home.join(".nvm/versions/node")).into_iter().map(|v| v.join("bin")));
        folders.extend(
            [".local/bin", ".volta/bin", ".bun/bin", "bin"].map(|folder| home.join(folder)),
        );
    }
    folders.extend(entries(Path::new("/opt")).into_iter().map(|tool| tool.join("bin")));
    // The last of sorted versions is the newest, near enough for a hint.
    folders.into_iter().map(|folder| folder.join(program)).rfind(|file| is_program(file))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = read.map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// The folder that belongs to a program: the one above its `bin`, unless that is a whole home.
fn room(file: &Path, homes: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(file);
    let above = folder.parent().filter(|above| {
        let is_home = *above == homes || above.parent() == Some(homes);
        folder.ends_with("bin") && !is_home && above.components().count() > 2
    });
    above.unwrap_or(folder).to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_program_must_be_there_and_seen() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let top = temp.path().canonicalize().expect("it is there");
        let node = top.join("home/op/.nvm/versions/node/v22/bin/node22");
        let (base, homes) = (top.join("app"), top.join("home"));
        for folder in [base.join("bin"), node.parent().expect("it has one").to_owned()] {
            fs::create_dir_all(folder).expect("folders are made");
        }
        for file in [&node, &base.join("bin/serve"), &base.join("text")] {
            fs::write(file, "").expect("files are written");
        }
        for file in [&node, &base.join("bin/serve")] {
            fs::set_permissions(file, PermissionsExt::from_mode(0o755)).expect("root may chmod");
        }
        symlink(&node, base.join("bin/linked")).expect("a link is made");
        let path = format!("bin:{DEFAULT_PATH}");
        let room = top.join("home/op/.nvm/versions/node/v22");
        let check = |program: &str, more: Option<&Path>| {
            let shown = [Some(base.as_path()), more].into_iter().flatten().collect();
            check(program, &Sight { cwd: &base, shown, path: Some(&path), homes: &homes })
        };

        for good in ["sh", "/bin/sh", "bin/serve", "./bin/serve", "serve"] {
            assert_eq!(check(good, None), None, "{good}");
        }
        let severity = |found: Option<Finding>| found.map(|(severity, ..)| severity);
        assert_eq!(severity(check("bin/none", None)), Some(Severity::Warning));
        assert_eq!(severity(check("./text", None)), Some(Severity::Warning));
        assert_eq!(severity(check("none-such", None)), Some(Severity::Warning));

        // Under a home folder: bare, by its path, and over a link.
        let line = format!("read-only = [\"{}\"]", room.display());
        for (program, severity) in [
            ("node22", Severity::Warning),
            (node.to_str().expect("it is text"), Severity::Error),
            ("linked", Severity::Error),
        ] {
            let (found, text, hint) = check(program, None).expect("it is not seen");
            assert_eq!(found, severity, "{text}");
            assert!(hint.as_ref().is_some_and(|hint| hint.contains(&line)), "{hint:?}");
        }
        assert_eq!(check("linked", Some(&room)), None);

        // A link counts by itself too: what it leads to is seen, the link is not.
        let link = top.join("home/op/sh");
        symlink("/bin/sh", &link).expect("a link is made");
        let found = check(link.to_str().expect("it is text"), None);
        assert!(found.is_some_and(|(severity, text, _)| {
            severity == Severity::Error && text.contains("cannot be seen")
        }));
    }

    #[test]
    fn the_room_of_a_program_is_never_a_whole_home() {
        let room = |file: &str| room(Path::new(file), Path::new("/home"));
        assert_eq!(
            room("/home/op/.nvm/versions/node/v22/bin/node"),
            Path::new("/home/op/.nvm/versions/node/v22")
        );
        assert_eq!(room("/home/op/bin/node"), Path::new("/home/op/bin"));
        assert_eq!(room("/opt/node/bin/node"), Path::new("/opt/node"));
        assert_eq!(room("/opt/bin/node"), Path::new("/opt/bin"));
        assert_eq!(room("/opt/x/run"), Path::new("/opt/x"));
    }
}
