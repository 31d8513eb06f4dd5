//! Opens profiles as root: only files that nobody but root and the caller could have written, and
//! only as much of them as a profile ever needs.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::folders::{Trusted, follow, shell_word};
use super::problem::{Position, Problem, quoted_path};
use super::text::Lines;
use crate::model::format_bytes;

/// The largest profile, in bytes.
pub const LARGEST: u64 = 1 << 20;

/// The text of a profile that can be trusted to be root's (or the caller's).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// Its whole text.
    pub text: String,
}

/// The profiles of some folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Sorted by name within each folder.
    pub sources: Vec<Source>,
    /// Files and folders that were refused.
    pub problems: Vec<Problem>,
}

/// Opens every `*.toml` of the folders. A folder that is not there holds none; hidden files
/// (editors' own) and other names are passed over.
#[must_use]
pub fn collect(folders: &[PathBuf]) -> Sources {
    let mut all = Sources::default();
    for folder in folders {
        match names(folder) {
            Ok(files) => {
                for file in files {
                    match open(&file) {
                        Ok(source) => all.sources.push(source),
                        Err(problem) => all.problems.push(problem),
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = format!("cannot list the profiles: {error}");
                all.problems.push(Problem::error(folder, Position::START, text));
            }
        }
    }
    all
}

fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Opens one profile.
///
/// # Errors
/// It is refused (not a regular file, a link, others could have written it, too large, not UTF-8)
/// or cannot be read; the problem says why and what to do.
pub fn open(file: &Path) -> Result<Source, Problem> {
    let refused = |text: String| Problem::error(file, Position::START, text);
    let unread = |error: io::Error| refused(format!("cannot open the profile: {error}"));
    let absolute = std::path::absolute(file).map_err(unread)?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(refused("it is a folder, not a profile".to_owned()));
    };
    let way = follow(folder).map_err(unread)?;
    let directory = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(&way.end)
        .map_err(unread)?;
    let caller = rustix::process::geteuid().as_raw();
    let metadata = directory.metadata().map_err(unread)?;
    if let Some((why, fix)) = open_to_others(&metadata, caller, &way.end) {
        return Err(
            refused(format!("refused: its folder {} {why}", quoted_path(&way.end))).with_hint(fix)
        );
    }
    let trusted = Trusted { user: "root", uid: caller, gid: None };
    if let Some(weakness) = way.weakness(trusted) {
        return Err(refused(format!("refused: {}", weakness.why)).with_hint(weakness.fix));
    }

    // Not blocked by a pipe, not led on by a link, no terminal taken.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
        Ok(opened) => File::from(opened),
        Err(rustix::io::Errno::LOOP) => {
            return Err(refused("refused: it is a link".to_owned())
                .with_hint("put the file itself there: a link can be led elsewhere"));
        }
        Err(errno) => return Err(unread(errno.into())),
    };
    let metadata = opened.metadata().map_err(unread)?;
    if !metadata.is_file() {
        return Err(refused("refused: it is not a regular file".to_owned()));
    }
    if let Some((why, fix)) = open_to_others(&metadata, caller, &absolute) {
        return Err(refused(format!("refused: it {why}")).with_hint(fix));
    }
    let mut bytes = Vec::new();
    opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unread)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
        let size = format_bytes(metadata.len().max(LARGEST + 1));
        let text = format!("refused: it has {size}, a profile at most {}", format_bytes(LARGEST));
        return Err(refused(text).with_hint("see whether it is the right file"));
    }
    let text = text(bytes).map_err(|at| {
        Problem::error(file, at, "not UTF-8 from this byte on").with_hint("save the file as UTF-8")
    })?;
    Ok(Source { file: file.to_owned(), text })
}

/// How others than root and the caller could write it, and what ends that.
fn open_to_others(metadata: &Metadata, caller: u32, path: &Path) -> Option<(String, String)> {
    let shown = shell_word(path);
    let (mode, owner) = (metadata.mode(), metadata.uid());
    if owner != 0 && owner != caller {
        let why = format!("belongs to uid {owner}, neither root nor the caller");
        return Some((why, format!("chown root: {shown}, once its content is checked")));
    }
    let (who, fix) = match mode & 0o022 {
        0 => return None,
        0o020 => ("its group", "g-w"),
        0o002 => ("everybody", "o-w"),
        _ => ("its group and everybody", "go-w"),
    };
    let why = format!("can be written by {who} (mode {:04o})", mode & 0o7777);
    Some((why, format!("chmod {fix} {shown}, once its content is checked")))
}

/// The bytes as text, or where the first bad one is.
fn text(bytes: Vec<u8>) -> Result<String, Position> {
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let prefix = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        Lines::of(&prefix).position(good)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refusal(file: &Path) -> (String, Option<String>) {
        let problem = open(file).expect_err("it is to be refused");
        assert_eq!((problem.file.as_path(), problem.is_error()), (file, true));
        (problem.text, problem.hint)
    }

    #[test]
    fn only_what_nobody_else_could_write_is_read() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let folder = temp.path().canonicalize().expect("it is there").join("profiles");
        let file = folder.join("a.toml");
        fs::create_dir(&folder).expect("a folder is made");
        fs::write(&file, "name = \"a\"\n").expect("a file is written");
        let set = |path: &Path, owner: u32, mode: u32| {
            chown(path, Some(owner), None).expect("root may chown");
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("root may chmod");
        };
        // Owner and mode of the folder and of the file; what the refusal and its hint say.
        for (folder_is, file_is, said) in [
            ((0, 0o755), (0, 0o644), None),
            ((0, 0o755), (0, 0o664), Some(("by its group (mode 0664)", "chmod g-w"))),
            ((0, 0o755), (0, 0o646), Some(("by everybody (mode 0646)", "chmod o-w"))),
            ((0, 0o755), (0, 0o666), Some(("by its group and everybody", "chmod go-w"))),
            ((0, 0o755), (1, 0o644), Some(("belongs to uid 1", "chown root: "))),
            ((0, 0o775), (0, 0o644), Some(("its folder", "chmod g-w"))),
            ((0, 0o1777), (0, 0o644), Some(("its folder", "chmod go-w"))),
            ((1, 0o755), (0, 0o644), Some(("its folder", "chown root: "))),
        ] {
            set(&folder, folder_is.0, folder_is.1);
            set(&file, file_is.0, file_is.1);
            match said {
                None => assert_eq!(open(&file).expect("it is safe").text, "name = \"a\"\n"),
                Some((why, fix)) => {
                    let (text, hint) = refusal(&file);
                    assert!(text.contains(why), "{text}");
                    assert!(hint.as_ref().is_some_and(|hint| hint.starts_with(fix)), "{hint:?}");
                }
            }
        }

        // A folder further up.
        set(&folder, 0, 0o755);
        set(&file, 0, 0o644);
        set(temp.path(), 0, 0o777);
        assert!(refusal(&file).0.contains("can be written by everybody"));
        set(temp.path(), 0, 0o700);
        assert!(open(&file).is_ok());
    }

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| temp.path().join(name);
        fs::write(at("good.toml"), "# é\n").expect("a file is written");
        symlink(at("good.toml"), at("link.toml")).expect("a link is made");
        fs::create_dir(at("folder.toml")).expect("a folder is made");
        let _socket = UnixListener::bind(at("socket.toml")).expect("a socket is made");
        nix::unistd::mkfifo(&at("pipe.toml"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        File::create(at("large.toml")).and_then(|f| f.set_len(10_000_000)).expect("a file");
        File::create(at("edge.toml")).and_then(|f| f.set_len(LARGEST)).expect("a file");

        assert!(refusal(&at("link.toml")).0.contains("it is a link"));
        assert!(refusal(&at("folder.toml")).0.contains("not a regular file"));
        assert!(refusal(&at("pipe.toml")).0.contains("not a regular file"));
        assert!(refusal(&at("socket.toml")).0.contains("cannot open"));
        assert!(refusal(&at("none.toml")).0.contains("cannot open"));
        assert_eq!(refusal(&at("large.toml")).0, "refused: it has 9.5M, a profile at most 1M");
        assert!(open(&at("edge.toml")).is_ok());
        assert!(refusal(Path::new("/dev/zero")).0.contains("not a regular file"));
    }

    #[test]
    fn the_first_byte_that_is_not_utf_8_is_named() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let file = temp.path().join("a.toml");
        fs::write(&file, b"# one\n# \xc3\xa9 \xff x\n").expect("a file is written");
        let problem = open(&file).expect_err("it is to be refused");
        assert_eq!((problem.line, problem.column), (2, 5));
    }

    #[test]
    fn a_folder_gives_its_profiles_sorted_and_nothing_else() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        for name in ["b.toml", "a.toml", ".#a.toml", "a.toml~", "notes.txt", "c.toml"] {
            fs::write(temp.path().join(name), name).expect("a file is written");
        }
        let c = temp.path().join("c.toml");
        fs::set_permissions(&c, PermissionsExt::from_mode(0o666)).expect("root may chmod");
        let found = collect(&[temp.path().to_owned(), temp.path().join("none")]);
        let texts: Vec<_> = found.sources.iter().map(|source| source.text.as_str()).collect();
        assert_eq!(texts, ["a.toml", "b.toml"]);
        let refused: Vec<_> = found.problems.iter().map(|problem| &problem.file).collect();
        assert_eq!(refused, [&c]);
    }
}
