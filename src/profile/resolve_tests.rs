use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::resolve::{HostFacts, Resolved, resolve};
use crate::model::{Places, SPEC_SCHEMA};
use crate::profile::{Problem, read};

/// A host of its own in a temporary folder: `app` is daemon's, with `backend` in it.
struct Host {
    _temp: TempDir,
    top: PathBuf,
    facts: HostFacts,
}

impl Host {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let top = temp.path().canonicalize().expect("it is there");
        // The folder of tempfile is root's alone.
        let host = Self {
            _temp: temp,
            facts: HostFacts {
                places: Places::below(top.join("root")),
                homes: top.join("home"),
                hard_open_files: 20_000,
                auto_uids: BTreeMap::new(),
            },
            top,
        };
        host.folder("app", 1, 0o750);
        host.folder("app/backend", 1, 0o750);
        host
    }

    fn folder(&self, name: &str, owner: u32, mode: u32) {
        let path = self.top.join(name);
        fs::create_dir_all(&path).expect("a folder is made");
        chown(&path, Some(owner), Some(owner)).expect("root may chown");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("root may chmod");
    }

    /// Lines 1 and 2 are name and command; `TOP` stands for the folder.
    fn resolve(&self, rest: &str) -> Result<Resolved, Vec<Problem>> {
        let text = format!("name = \"a\"\ncommand = [\"sh\"]\n{rest}");
        let text = text.replace("TOP", self.top.to_str().expect("it is text"));
        let reading = read(Path::new("a.toml"), &text);
        let profile = reading.profile.unwrap_or_else(|| panic!("{:?}", reading.problems));
        resolve(&profile, &self.facts)
    }

    /// The only problem: its place and words.
    fn problem(&self, rest: &str) -> (usize, usize, String) {
        let problems = self.resolve(rest).expect_err("there is an error");
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        let hint = problem.hint.as_deref().unwrap_or("");
        (problem.line, problem.column, format!("{} // {hint}", problem.text))
    }
}

const APP: &str = "user = \"daemon\"\nbase = \"TOP/app\"\n";

#[test]
fn a_spec_has_nothing_left_to_look_up() {
    let host = Host::new();
    host.folder("app/releases/1", 1, 0o750);
    host.folder("share", 0, 0o755);
    symlink("releases/1", host.top.join("app/current")).expect("a link is made");
    symlink("share", host.top.join("shared")).expect("a link is made");
    let rest =
        "cwd = \"TOP/app/current\"\nwritable = [\"backend\"]\nread-only = [\"TOP/shared\"]\n";
    let resolved = host.resolve(&format!("{APP}{rest}")).expect("it is all right");
    assert_eq!(resolved.warnings, []);
    let spec = resolved.spec;
    let at = |path: &str| host.top.join(path);
    assert_eq!((spec.base, spec.cwd), (at("app"), at("app/current")));
    assert_eq!((spec.writable, spec.read_only), (vec![at("app/backend")], vec![at("share")]));
    let env_file = spec.env_file.expect("there is a default");
    assert_eq!((env_file.path, env_file.required), ("current/.env".into(), false));
    assert_eq!((spec.identity.uid, spec.identity.gid), (1, 1));
    assert_eq!(spec.limits.open_files, 20_000, "the smaller of the default and the host's");
    assert_eq!((spec.profile_digest.len(), spec.schema), (16, SPEC_SCHEMA));

    // Base through a link, named env file, more open files than the host has.
    symlink("app", host.top.join("linked")).expect("a link is made");
    let rest = "user = \"daemon\"\nbase = \"TOP/linked\"\ncwd = \"TOP/app/backend\"\n\
                env-file = \"a/.env\"\n[limits]\nopen-files = 65536\n";
    let resolved = host.resolve(rest).expect("it is all right");
    assert_eq!((resolved.spec.base, resolved.spec.cwd), (at("app"), at("app/backend")));
    let env_file = resolved.spec.env_file.expect("it is named");
    assert_eq!((env_file.path, env_file.required), ("a/.env".into(), true));
    assert_eq!(resolved.spec.limits.open_files, 20_000);
    let warnings: Vec<_> = resolved.warnings.iter().map(|w| (w.line, w.column)).collect();
    assert_eq!(warnings, [(8, 14)]);
}

#[test]
fn cwd_alone_is_base_too() {
    let host = Host::new();
    let resolved = host.resolve("user = \"61001\"\ncwd = \"TOP/app\"\n");
    let problems = resolved.expect_err("app is daemon's");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let spec = host.resolve("user = \"daemon\"\ncwd = \"TOP/app\"\n").expect("right").spec;
    assert_eq!(spec.base, spec.cwd);
    assert_eq!(spec.env_file.map(|file| file.path), Some(".env".into()));
}

#[test]
fn folders_that_others_could_change_are_refused() {
    let host = Host::new();
    host.folder("loose", 0, 0o777);
    host.folder("loose/app", 1, 0o750);
    host.folder("sticky", 0, 0o1777);
    host.folder("sticky/app", 1, 0o750);
    host.folder("app/foreign", 2, 0o750);
    let user = "user = \"daemon\"\n";
    let top = host.top.display();
    for (rest, column, said) in [
        (format!("{user}base = \"TOP/loose/app\"\n"), 8, format!("chmod o-w {top}/loose")),
        (format!("{user}base = \"TOP/sticky\"\n"), 8, format!("chmod o-w {top}/sticky")),
        (format!("{user}base = \"TOP/none\"\n"), 8, "No such file".to_owned()),
        (format!("{user}base = \"/etc\"\n"), 8, "\"/etc\" may not be opened".to_owned()),
        (format!("{user}base = \"TOP\"\n"), 8, "swrun's own".to_owned()),
    ] {
        let (line, at, text) = host.problem(&rest);
        assert_eq!((line, at), (4, column), "{text}");
        assert!(text.contains(&said), "{text}");
    }
    assert!(host.resolve(&format!("{user}base = \"TOP/sticky/app\"\n")).is_ok());
    for (rest, said) in [
        ("cwd = \"TOP/app/foreign\"\n", format!("chown daemon {top}/app/foreign")),
        ("cwd = \"TOP/app/none\"\n", "swrun setup".to_owned()),
        ("cwd = \"TOP/sticky/app\"\n", "is not beneath base".to_owned()),
    ] {
        let (line, column, text) = host.problem(&format!("{APP}{rest}"));
        assert_eq!((line, column), (5, 7), "{text}");
        assert!(text.contains(&said), "{text}");
    }
}

#[test]
fn what_is_opened_besides_is_held_to_what_is_allowed() {
    let host = Host::new();
    host.folder("home/op/tools", 2, 0o755);
    symlink("/proc/1", host.top.join("app/sly")).expect("a link is made");
    for (rest, column, said) in [
        ("writable = [\"none\"]\n", 13, "mkdir"),
        ("writable = [\"sly\"]\n", 13, "/proc"),
        ("writable = [\"backend\", \"/etc/ssl\"]\n", 24, "belongs to the system"),
        ("read-only = [\"/root\"]\n", 14, "/root"),
    ] {
        let (line, at, text) = host.problem(&format!("{APP}{rest}"));
        assert_eq!((line, at), (5, column), "{text}");
        assert!(text.contains(said), "{text}");
    }
    let rest = format!("{APP}read-only = [\"TOP/home/op/tools\", \"/etc/ssl\"]\n");
    let resolved = host.resolve(&rest).expect("only a warning");
    assert_eq!(resolved.spec.read_only.len(), 2);
    let warnings: Vec<_> = resolved.warnings.iter().map(|w| (w.line, w.column)).collect();
    assert_eq!(warnings, [(5, 14)]);
}

#[test]
fn a_missing_user_is_one_problem_with_the_way_to_make_it() {
    let host = Host::new();
    let (line, column, text) = host.problem("user = \"deploy-none\"\nbase = \"TOP/app\"\n");
    assert_eq!((line, column), (3, 8));
    assert!(
        text.contains("there is no user \"deploy-none\"") && text.contains("swrun setup"),
        "{text}"
    );
    assert_eq!(host.problem("user = \"auto\"\nbase = \"TOP/app\"\n").0, 3);
}
