//! The few things done to files of a cgroup hierarchy, each with an error that names step and path.
//! Nothing is ever created by a write: a file that is missing is a feature that is missing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Component, Path, PathBuf};

use super::CgroupError;

/// The largest file that is read: `memory.stat` has some 4 KiB, a full `cgroup.procs` more.
const MOST_TEXT: u64 = 4 << 20;

/// An error about `path`.
pub fn failed(doing: &'static str, path: &Path, source: std::io::Error) -> CgroupError {
    CgroupError { doing, path: path.to_path_buf(), source, hint: None }
}

/// Whether the group (or its file) is not there, or went while it was used (`ENODEV`).
pub fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// The folder of `group` below `root`.
///
/// # Errors
/// The group is the hierarchy's root or leads out of it: limiting, killing or removing there would
/// hit the whole host.
pub fn beneath(root: &Path, group: &Path) -> Result<PathBuf, CgroupError> {
    let mut folder = root.to_path_buf();
    let mut depth = 0;
    for component in group.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                folder.push(name);
                depth += 1;
            }
            Component::ParentDir | Component::Prefix(_) => depth = usize::MAX / 2,
        }
    }
    if (1..usize::MAX / 2).contains(&depth) {
        return Ok(folder);
    }
    let reason = "it must lie below the root of the hierarchy, without \"..\"";
    Err(failed("use the cgroup", group, std::io::Error::new(ErrorKind::InvalidInput, reason)))
}

/// The text of a measurement; `None` where it could not be read.
pub fn measure(path: &Path) -> Option<String> {
    read_once(&File::open(path).ok()?, str::to_owned)
}

/// Reads an open file from its start. The kernel gives such a file, which is one record (seq_file, `single_open`),
/// whole to a read that has the room: no second read has to find its end.
pub fn read_once<T>(file: &File, take: impl FnOnce(&str) -> T) -> Option<T> {
    let mut first = [0; 4096];
    let read = read_some(file, &mut first, 0)?;
    if read < first.len() {
        return Some(take(str::from_utf8(&first[..read]).ok()?));
    }
    let mut text = first.to_vec();
    while text.len() as u64 <= MOST_TEXT {
        let (length, room) = (text.len(), text.len());
        text.resize(length + room, 0);
        let read = read_some(file, &mut text[length..], length)?;
        text.truncate(length + read);
        if read < room {
            return Some(take(str::from_utf8(&text).ok()?));
        }
    }
    None
}

fn read_some(file: &File, buffer: &mut [u8], from: usize) -> Option<usize> {
    loop {
        match file.read_at(buffer, from as u64) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.ok(),
        }
    }
}

/// The text of `path`.
pub fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    // The kernel makes the text anew for each read: in one piece it is cheaper, and of one moment.
    let mut text = String::with_capacity(4096);
    File::open(path)?.take(MOST_TEXT).read_to_string(&mut text)?;
    Ok(text)
}

/// Reads an open kernel file anew from its start, which also re-arms `POLLPRI` on it.
pub fn read_again(file: &File) -> std::io::Result<String> {
    // One read: the kernel hands such a file out whole, and two reads could see two states.
    let mut text = [0; 4096];
    let length = file.read_at(&mut text, 0)?;
    String::from_utf8(text[..length].to_vec())
        .map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
}

/// Writes `value` in one piece, as the kernel wants it.
///
/// # Errors
/// `doing` and the path, with what the kernel said.
pub fn write(path: &Path, value: &str, doing: &'static str) -> Result<(), CgroupError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| failed(doing, path, error))
}

/// The same where a kernel may lack the file.
///
/// # Errors
/// As [`write`], but for a file that is missing.
pub fn write_if_there(path: &Path, value: &str, doing: &'static str) -> Result<(), CgroupError> {
    if path.exists() { write(path, value, doing) } else { Ok(()) }
}

/// Makes one group; its parent must be there.
///
/// # Errors
/// It is there already, or the kernel refused it.
pub fn make(folder: &Path) -> Result<(), CgroupError> {
    DirBuilder::new().mode(0o755).create(folder).map_err(|error| {
        let hint = match error.raw_os_error() {
            Some(libc::EROFS) => Some("the cgroups are mounted read-only, as in a container"),
            Some(libc::EACCES | libc::EPERM) => Some("root may do this"),
            Some(libc::EEXIST) => Some("a group is used once; remove it first"),
            _ => None,
        };
        CgroupError { hint, ..failed("create the cgroup", folder, error) }
    })
}

/// Makes `folder` and what it lacks of parents below `root`.
///
/// # Errors
/// As [`make`], but for what is there already.
pub fn make_all(root: &Path, folder: &Path) -> Result<(), CgroupError> {
    for step in line(root, folder).into_iter().skip(1) {
        match make(&step) {
            Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    Ok(())
}

/// The folders from `root` down to `folder`, both included.
pub fn line(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let mut line: Vec<_> = folder
        .ancestors()
        .take_while(|step| step.starts_with(root))
        .map(Path::to_path_buf)
        .collect();
    line.reverse();
    line
}

/// `folder` and all groups below it, deepest first; empty where it is not there.
///
/// # Errors
/// A folder could not be read.
pub fn deepest_first(folder: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        match children(&next) {
            Ok(children) => open.extend(children),
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(failed("list the cgroup", &next, error)),
        }
        found.push(next);
    }
    // A parent was found before its children.
    found.reverse();
    Ok(found)
}

/// The groups right below `folder`.
pub fn children(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // No link is followed: file_type is the entry's own.
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_never_is_the_root_nor_leads_out_of_it() {
        let root = Path::new("/sys/fs/cgroup");
        for bad in ["", "/", ".", "..", "a/..", "/../x", "a/../../b"] {
            assert!(beneath(root, Path::new(bad)).is_err(), "{bad:?}");
        }
        for good in ["a/b", "/a/b", "./a/b"] {
            let folder = beneath(root, Path::new(good)).expect(good);
            assert_eq!(folder, Path::new("/sys/fs/cgroup/a/b"));
        }
    }

    #[test]
    fn a_write_makes_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("memory.max");
        assert!(write(&path, "1", "set").is_err());
        assert!(write_if_there(&path, "1", "set").is_ok());
        assert!(!path.exists());
    }

    #[test]
    fn the_deepest_group_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("a/b/c")).expect("folders");
        let found = deepest_first(&folder.path().join("a")).expect("a list");
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(&folder).expect("below")).collect();
        assert_eq!(names, [Path::new("a/b/c"), Path::new("a/b"), Path::new("a")]);
        assert_eq!(
            deepest_first(&folder.path().join("none")).expect("no error"),
            [] as [PathBuf; 0]
        );
    }
}
