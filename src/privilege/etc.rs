//! The `/etc` that apps see: files of the host's that programs need to run, copied into a folder of swrun's
//! which every cage shows read-only; users and groups are the environment's own.
//!
//! A list of what is there, not of what is hidden: a file that is laid into the host's `/etc` later is not
//! seen. Only what anybody may read is copied, so nothing becomes more readable. The folder is brought up to
//! date in place, so running apps see a change of the resolver too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::accounts::accounts;
use crate::model::EnvSpec;
use crate::sys::{clock, files};

const SOURCE: &str = "/etc";

/// What is shown, where the host has it. A `*` at the end stands for any rest.
const SHOWN: [&str; 40] = [
    // Names and addresses (nsswitch.conf(5), resolver(5), services(5)).
    "nsswitch.conf",
    "resolv.conf",
    "hosts",
    "host.conf",
    "gai.conf",
    "networks",
    "services",
    "protocols",
    "rpc",
    "ethertypes",
    // Time and language.
    "localtime",
    "timezone",
    "adjtime",
    "locale.alias",
    "locale.conf",
    // The loader and the alternatives of programs.
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    // Certificates and what decides on ciphers.
    "ssl/certs",
    "ssl/openssl.cnf",
    "ssl/cert.pem",
    "pki/tls",
    "pki/ca-trust/extracted",
    "ca-certificates.conf",
    "crypto-policies",
    "gnutls",
    // Kinds of files, fonts, terminals.
    "mime.types",
    "magic",
    "mailcap",
    "fonts",
    "terminfo",
    // What the system is.
    "os-release",
    "debian_version",
    "mtab",
    // Languages.
    "java-*",
    "python3*",
    "perl",
    "ImageMagick-*",
    "shells",
];

/// More than any of these has; what is above is not shown.
const LONGEST: u64 = 4 << 20;
const MOST: usize = 8192;

/// What one environment shows of `/etc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etc {
    /// The folder with the files of all environments.
    pub shared: PathBuf,
    /// The folder with the environment's own `passwd` and `group`.
    pub own: PathBuf,
}

/// The files that are the environment's own, by name.
pub const OWN: [&str; 2] = ["passwd", "group"];

/// What lies in the shared folder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Folder,
    Link(PathBuf),
    /// A copy of this file, as it was.
    File(PathBuf, [i64; 4]),
}

type Wanted = BTreeMap<PathBuf, Kind>;

/// Folders and files that were looked at, and what they were like before that: while they are so, each link in the folders
/// is too.
type Seen = Vec<(PathBuf, [i64; 4])>;

impl Etc {
    /// Makes what a start needs and is not there; what is there may be of yesterday, until `renew`.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn make(&self, spec: &EnvSpec) -> io::Result<()> {
        if !note_of(&self.shared).exists() {
            return self.renew(spec);
        }
        self.make_places(spec)?;
        self.renew_own(spec)
    }

    /// Brings both folders up to date.
    ///
    /// # Errors
    /// A file could not be copied; what is there stays.
    pub fn renew(&self, spec: &EnvSpec) -> io::Result<()> {
        self.renew_if(spec, true)
    }

    /// The same where a look at the folders and files says that something has changed: a hundred system calls where a
    /// whole look takes fifteen hundred, after each start.
    ///
    /// # Errors
    /// As [`Etc::renew`].
    pub fn renew_lightly(&self, spec: &EnvSpec) -> io::Result<()> {
        self.renew_if(spec, !is_as_seen(Path::new(SOURCE), &self.shared))
    }

    fn renew_if(&self, spec: &EnvSpec, is_to_be_copied: bool) -> io::Result<()> {
        if is_to_be_copied {
            let _lock = files::lock_waiting(&files::with_suffix(&self.shared, ".lock"))?;
            copy(Path::new(SOURCE), &self.shared, TICK)?;
        }
        self.make_places(spec)?;
        self.renew_own(spec)
    }

    /// Places for what the profile shows further of `/etc`.
    fn make_places(&self, spec: &EnvSpec) -> io::Result<()> {
        for path in spec.read_only.iter().filter_map(|path| path.strip_prefix(SOURCE).ok()) {
            let (from, to) = (Path::new(SOURCE).join(path), self.shared.join(path));
            if from.is_dir() {
                make_public(&self.shared, path)?;
            } else if fs::symlink_metadata(&to).is_err() {
                make_public(&self.shared, path.parent().unwrap_or(path))?;
                files::replace_lightly(&to, b"", 0o644)?;
            }
        }
        Ok(())
    }

    fn renew_own(&self, spec: &EnvSpec) -> io::Result<()> {
        fs::create_dir_all(&self.own)?;
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let [passwd, group] = accounts(&spec.identity, spec.name.as_str(), &groups);
        for (name, text) in OWN.into_iter().zip([passwd, group]) {
            let path = self.own.join(name);
            if fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
                files::replace_lightly(&path, text.as_bytes(), 0o644)?;
            }
        }
        Ok(())
    }
}

/// Where the list of what was copied lies.
fn note_of(shared: &Path) -> PathBuf {
    files::with_suffix(shared, ".list")
}

/// Where what was looked at lies, a line each.
fn seen_of(shared: &Path) -> PathBuf {
    files::with_suffix(shared, ".seen")
}

/// Whether all that was looked at by the last [`copy`] is as it was then.
fn is_as_seen(source: &Path, target: &Path) -> bool {
    let Ok(seen) = fs::read_to_string(seen_of(target)) else { return false };
    let is_same = |line: &str| {
        let (stamp_then, path) = line.split_once(' ')?;
        let found = fs::metadata(source.join(path)).ok()?;
        (stamp_text(stamp(&found)) == stamp_then).then_some(())
    };
    !seen.is_empty() && seen.split_terminator('\0').all(|line| is_same(line).is_some())
}

fn stamp_text(stamp: [i64; 4]) -> String {
    stamp.map(|number| number.to_string()).join(":")
}

/// Longer than a tick of the kernel's clock by which changes are stamped before Linux 6.13.
const TICK: Duration = Duration::from_millis(20);

/// Copies what is shown of `source` to `target`, and removes what was copied before and is not there now. What has
/// changed within the last `tick` may change again without another stamp: it is not held to be seen.
fn copy(source: &Path, target: &Path, tick: Duration) -> io::Result<()> {
    let begun = Duration::from_millis(clock::wall_millis());
    let (wanted, seen) = wanted(source);
    // Not while it may be half done.
    files::remove_if_there(&seen_of(target))?;
    copy_all(&wanted, target)?;
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    let changed = |stamp: &[i64; 4]| {
        Duration::from_secs(part(stamp[2])) + Duration::from_nanos(part(stamp[3]))
    };
    let newest = seen.iter().map(|(_, stamp)| changed(stamp)).max();
    if !tick.is_zero() && newest.is_none_or(|newest| newest + tick > begun) {
        return Ok(());
    }
    let lines: Vec<String> = seen
        .iter()
        .filter_map(|(path, stamp)| Some(format!("{} {}\0", stamp_text(*stamp), path.to_str()?)))
        .collect();
    files::replace_lightly(&seen_of(target), lines.concat().as_bytes(), 0o600)
}

fn copy_all(wanted: &Wanted, target: &Path) -> io::Result<()> {
    let note = note_of(target);
    // What was copied, a path a part, and behind it what all was like.
    let names: Vec<&str> = wanted.keys().filter_map(|path| path.to_str()).collect();
    let list = format!("{}\0\0{wanted:?}", names.join("\0"));
    let before = fs::read_to_string(&note).unwrap_or_default();
    if before == list && target.is_dir() {
        return Ok(());
    }
    make_public(target, Path::new(""))?;
    for (path, kind) in wanted {
        let to = target.join(path);
        match kind {
            Kind::Folder => make_public(target, path)?,
            Kind::Link(leads_to) if fs::read_link(&to).is_ok_and(|is| is == *leads_to) => {}
            Kind::Link(leads_to) => {
                files::remove_if_there(&to)?;
                symlink(leads_to, &to)?;
            }
            // One that has gone meanwhile is left out.
            Kind::File(from, _) => {
                if let Ok(bytes) = files::read_bounded(from, LONGEST) {
                    files::replace_lightly(&to, &bytes, 0o644)?;
                }
            }
        }
    }
    // Mount points that the profiles of others need are no copies, and stay.
    let names = before.split_once("\0\0").map_or("", |(names, _)| names);
    for path in names.split('\0').map(Path::new) {
        let is_beneath = path.components().all(|part| matches!(part, Component::Normal(_)));
        if is_beneath && !path.as_os_str().is_empty() && !wanted.contains_key(path) {
            // A folder stays: it is empty, or a place for what a profile shows.
            let _ = fs::remove_file(target.join(path));
        }
    }
    for name in OWN {
        if !target.join(name).exists() {
            files::replace_lightly(&target.join(name), b"", 0o644)?;
        }
    }
    fs::write(note, list)
}

/// A folder below `target` that anybody may enter, whatever this process's mask.
fn make_public(target: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(target.join(path))?;
    for folder in path.ancestors() {
        fs::set_permissions(target.join(folder), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn wanted(source: &Path) -> (Wanted, Seen) {
    let (mut wanted, mut seen) = (Wanted::new(), Seen::new());
    // What comes and goes is seen by the folder.
    if let Ok(found) = fs::metadata(source) {
        seen.push((PathBuf::new(), stamp(&found)));
    }
    let names: Vec<String> = fs::read_dir(source)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    for shown in SHOWN {
        match shown.strip_suffix('*') {
            Some(start) => {
                for name in names.iter().filter(|name| name.starts_with(start)) {
                    add(source, Path::new(name), &mut wanted, &mut seen);
                }
            }
            None => {
                // "ssl/certs" comes and goes in "ssl".
                let round = Path::new(shown).parent().filter(|round| *round != Path::new(""));
                if let Some((round, found)) =
                    round.and_then(|r| Some((r, fs::metadata(source.join(r)).ok()?)))
                {
                    seen.push((round.to_owned(), stamp(&found)));
                }
                add(source, Path::new(shown), &mut wanted, &mut seen);
            }
        }
    }
    (wanted, seen)
}

/// Adds a path and what is below it, with the folders round it.
fn add(source: &Path, path: &Path, wanted: &mut Wanted, seen: &mut Seen) {
    let from = source.join(path);
    let Ok(found) = fs::symlink_metadata(&from) else { return };
    if wanted.len() >= MOST {
        return;
    }
    if found.mode() & 0o004 == 0 {
        // It may become readable.
        seen.push((path.to_owned(), stamp(&found)));
        return;
    }
    let kind = if found.is_dir() {
        Kind::Folder
    } else if found.is_file() {
        Kind::File(from.clone(), stamp(&found))
    } else if let Some(kind) = kind_of_link(source, &from) {
        kind
    } else {
        return;
    };
    match &kind {
        Kind::Folder => seen.push((path.to_owned(), stamp(&found))),
        Kind::File(_, stamp) => seen.push((path.to_owned(), *stamp)),
        Kind::Link(_) => {}
    }
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        wanted.insert(folder.to_owned(), Kind::Folder);
    }
    let is_folder = kind == Kind::Folder;
    wanted.insert(path.to_owned(), kind);
    if is_folder {
        for entry in fs::read_dir(&from).into_iter().flatten().flatten() {
            add(source, &path.join(entry.file_name()), wanted, seen);
        }
    }
}

/// A link that leads to what a cage has stays one; of another, such as that of a resolver to the host's
/// `/run`, the file is copied.
fn kind_of_link(source: &Path, from: &Path) -> Option<Kind> {
    let leads_to = fs::read_link(from).ok()?;
    let in_cage = |end: &Path| {
        ["/usr", "/proc"].iter().any(|f| end.starts_with(f)) || end.starts_with(source)
    };
    // By its words first: a look at each of some hundred certificates would take ten milliseconds.
    if in_cage(&by_words(&from.parent()?.join(&leads_to))) {
        return Some(Kind::Link(leads_to));
    }
    let end = fs::canonicalize(from).ok()?;
    if in_cage(&end) {
        return Some(Kind::Link(leads_to));
    }
    let found = fs::symlink_metadata(&end).ok()?;
    // Readable is what lies in folders that anybody may enter, too.
    let is_reached = |folder: &Path| fs::metadata(folder).is_ok_and(|f| f.mode() & 0o001 != 0);
    if !end.ancestors().skip(1).all(is_reached) {
        return None;
    }
    (found.is_file() && found.mode() & 0o004 != 0).then(|| Kind::File(end, stamp(&found)))
}

/// The path without `..`, as if no part of it were a link.
fn by_words(path: &Path) -> PathBuf {
    let mut end = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                end.pop();
            }
            Component::CurDir => {}
            part => end.push(part),
        }
    }
    end
}

/// By the time of its last change of any kind (`st_ctime` in inode(7)), of its rights too.
fn stamp(found: &fs::Metadata) -> [i64; 4] {
    [found.ino().cast_signed(), found.size().cast_signed(), found.ctime(), found.ctime_nsec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_files_are_copied_and_kept_up_to_date() {
        let temp = tempfile::tempdir().expect("a folder");
        let top = temp.path().canonicalize().expect("there");
        let (source, target) = (top.join("etc"), top.join("shared"));
        let write = |path: &str, text: &str, mode: u32| {
            let path = source.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("ours");
            fs::write(&path, text).expect("ours");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        };
        for (path, mode) in [
            ("hosts", 0o644),
            ("shadow", 0o640),
            ("ssl/certs/one.pem", 0o644),
            ("ssl/private/key.pem", 0o600),
            ("java-17/security/policy", 0o644),
            ("services", 0o600),
            ("swrun/profiles/prod.toml", 0o644),
        ] {
            write(path, "first", mode);
        }
        symlink("/usr/share/zoneinfo/UTC", source.join("localtime")).expect("ours");
        fs::write(top.join("stub"), "nameserver").expect("ours");
        symlink(top.join("stub"), source.join("resolv.conf")).expect("ours");
        assert!(!is_as_seen(&source, &target));
        copy(&source, &target, Duration::ZERO).expect("it copies");
        assert!(is_as_seen(&source, &target));

        // What was just written may be written again within the same tick.
        copy(&source, &target, Duration::from_secs(3600)).expect("it copies");
        assert!(!is_as_seen(&source, &target));
        let text = |path: &str| fs::read_to_string(target.join(path)).ok();
        assert_eq!(text("hosts").as_deref(), Some("first"));
        assert_eq!(text("resolv.conf").as_deref(), Some("nameserver"));
        assert!(
            fs::symlink_metadata(target.join("resolv.conf")).is_ok_and(|found| found.is_file())
        );
        assert!(fs::read_link(target.join("localtime")).is_ok());
        assert_eq!(text("java-17/security/policy").as_deref(), Some("first"));
        for hidden in ["shadow", "ssl/private", "services", "swrun"] {
            assert!(fs::symlink_metadata(target.join(hidden)).is_err(), "{hidden}");
        }

        write("hosts", "second", 0o644);
        fs::remove_file(source.join("ssl/certs/one.pem")).expect("ours");
        fs::write(target.join("mount-point"), "").expect("ours");
        // Three deep, with a link that leads far up: what is told of it is no path to remove.
        fs::create_dir_all(source.join("fonts/conf.d")).expect("ours");
        fs::write(top.join("precious"), "").expect("ours");
        symlink("../../../usr/../precious", source.join("fonts/conf.d/link")).expect("ours");
        assert!(!is_as_seen(&source, &target));
        copy(&source, &target, Duration::ZERO).expect("it copies");
        copy(&source, &target, Duration::ZERO).expect("it copies");
        assert_eq!(text("hosts").as_deref(), Some("second"));
        assert_eq!(text("ssl/certs/one.pem"), None);
        assert_eq!(text("mount-point").as_deref(), Some(""));
        write("hosts", "third", 0o644);
        copy(&source, &target, Duration::ZERO).expect("it copies");
        assert!(top.join("precious").exists());
        // Each by itself is seen without a whole look.
        let changes: [(&str, &dyn Fn()); 7] = [
            ("a text", &|| write("hosts", "fourth", 0o644)),
            ("rights", &|| write("hosts", "fourth", 0o600)),
            ("rights that come back", &|| {
                let mode = fs::Permissions::from_mode(0o644);
                fs::set_permissions(source.join("hosts"), mode).expect("ours");
            }),
            ("where a link leads", &|| {
                fs::remove_file(source.join("fonts/conf.d/link")).expect("ours");
                symlink("/usr/share", source.join("fonts/conf.d/link")).expect("ours");
            }),
            ("what a link leads to", &|| fs::write(top.join("stub"), "another").expect("ours")),
            ("a new file, deep", &|| write("ssl/certs/two.pem", "first", 0o644)),
            ("a new language", &|| write("java-18/policy", "first", 0o644)),
        ];
        for (what, change) in changes {
            assert!(is_as_seen(&source, &target), "before {what}");
            change();
            assert!(!is_as_seen(&source, &target), "{what}");
            copy(&source, &target, Duration::ZERO).expect("it copies");
        }
        // A file that anybody may read, in a folder that nobody may enter.
        let private = top.join("private");
        fs::create_dir(&private).expect("ours");
        fs::write(private.join("key"), "secret").expect("ours");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).expect("ours");
        symlink(private.join("key"), source.join("ssl/certs/key.pem")).expect("ours");
        copy(&source, &target, Duration::ZERO).expect("it copies");
        assert!(fs::symlink_metadata(target.join("ssl/certs/key.pem")).is_err());
    }
}
