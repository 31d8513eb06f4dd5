//! Files of swrun's own, written so that a power cut leaves the one before or the one after.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Replaces `path` by `bytes`: a new file beside it, synced, renamed over it, the folder synced.
///
/// # Errors
/// Any of the steps.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace_with(path, bytes, mode, true)
}

fn replace_with(path: &Path, bytes: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name =
        path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let beside = folder.join(format!(".{name}.new"));
    remove_if_there(&beside)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&beside)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&beside, path)?;
    if sync { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Reads a file of at most `longest` bytes; a link in its place is refused.
///
/// # Errors
/// open(2), read(2), or `InvalidData` for a longer one.
pub fn read_bounded(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    read_at_most(file, longest)
}

fn read_at_most(file: File, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        let text = format!("it is longer than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// unlink(2).
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `path` with `suffix` at its end.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Keeps a file that cannot be understood under another name beside it, which is given; one that was
/// kept there before goes.
///
/// # Errors
/// rename(2).
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = with_suffix(path, ".damaged");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Makes a folder and those above it with `mode`; one that is there is left as it is.
///
/// # Errors
/// mkdir(2).
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Takes the lock `path` for as long as the file lives (flock(2)); `None` when another has it.
///
/// # Errors
/// open(2) or flock(2).
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The same; waits for it. For what takes a moment only.
///
/// # Errors
/// open(2) or flock(2).
pub fn lock_waiting(path: &Path) -> io::Result<File> {
    let file = lock_file(path)?;
    file.lock()?;
    Ok(file)
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

/// Reads a regular file of at most `longest` bytes beneath `base`, with the caller's own rights.
/// Links are followed as long as they stay beneath, absolute ones too (deployment tools write them);
/// a fifo or a device is refused without waiting, and a file with a second name (whose it is, that name
/// does not tell).
///
/// # Errors
/// openat2(2) (`EXDEV`: a link leads out of `base`), read(2), or `InvalidData`.
pub fn read_beneath(base: &Path, path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let folder =
        rustix::fs::open(base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = |path: &Path| rustix::fs::openat2(&folder, path, flags, Mode::empty(), resolve);
    let opened = match open(path) {
        // Told without opening anything where it leads; what is opened is held to the base again.
        Err(rustix::io::Errno::XDEV) => match fs::canonicalize(base.join(path)) {
            Ok(end) => {
                end.strip_prefix(fs::canonicalize(base)?).map_or(Err(rustix::io::Errno::XDEV), open)
            }
            Err(_) => Err(rustix::io::Errno::XDEV),
        },
        opened => opened,
    };
    let file = File::from(opened?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    if found.nlink() > 1 {
        let text = "it has another name elsewhere (a hard link): copy it";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    read_at_most(file, longest)
}

/// Opens a folder beneath `base`, over no link at all.
///
/// # Errors
/// openat2(2): `ELOOP` is a link, `EXDEV` a path that leads out of `base`.
pub fn folder_beneath(base: &Path, path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let folder = rustix::fs::openat2(
        rustix::fs::CWD,
        base,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?;
    Ok(File::from(rustix::fs::openat2(&folder, path, flags, Mode::empty(), resolve)?))
}

/// The most names that [`names_in`] looks at.
const MOST_NAMES: usize = 1000;

/// The names in a folder that are text, of a thousand at most.
///
/// # Errors
/// getdents64(2).
pub fn names_in(folder: &File) -> io::Result<Vec<String>> {
    let entries = rustix::fs::Dir::read_from(folder)?.take(MOST_NAMES);
    let names = entries.map(|entry| Ok(entry?.file_name().to_str().ok().map(str::to_owned)));
    Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Replaces `path` as [`replace`] does but without waiting for the disk: whole after a kill at any
/// moment, perhaps the one before after a power cut.
///
/// # Errors
/// Any of the steps.
pub fn replace_lightly(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace_with(path, bytes, mode, false)
}

/// The first place on the way to `path` (itself included) that others than root can change, and who: what lies
/// there is not to be executed as root.
///
/// # Errors
/// Of stat(2), with the place.
pub fn changed_by_others(path: &Path) -> io::Result<Option<(PathBuf, String)>> {
    for place in path.ancestors() {
        let found = fs::metadata(place).map_err(|error| {
            let text = format!("could not look at \"{}\": {error}", place.display());
            io::Error::new(error.kind(), text)
        })?;
        // In a folder with the sticky bit nobody takes what is another's (/tmp).
        let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        let who = match found.mode() & 0o022 {
            _ if found.uid() != 0 => Some(format!("uid {}", found.uid())),
            0 => None,
            _ if is_sticky => None,
            _ => Some("others".to_owned()),
        };
        if let Some(who) = who {
            return Ok(Some((place.to_owned(), who)));
        }
    }
    Ok(None)
}
