//! The root that an app sees: built from nothing on a tmpfs, then only what is listed here.
//!
//! `/usr` and its kin and `/etc` read-only, the environment's own folders, private `/tmp`,
//! `/dev/shm`, `/run`, own `/dev`, `/proc`, `/sys`, and its own cgroup. What is not listed is not
//! there: other environments, `/root`, `/home`, swrun's folders.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::sys::mount::{Attributes, attach, attach_at, copy_of, set_attributes};

/// What is to be seen, every path absolute and without links.
#[derive(Debug)]
pub struct Cage<'a> {
    /// The environment's folder, read-only.
    pub base: &'a Path,
    /// Its user: the folder must be that user's, or root's.
    pub uid: u32,
    /// Folders that can be written.
    pub writable: &'a [PathBuf],
    /// Further files and folders, read-only.
    pub read_only: &'a [PathBuf],
    /// Folders of the app's cgroup, and where they belong.
    pub views: &'a [(PathBuf, PathBuf)],
    /// The bound of each private tmpfs in bytes; the memory ceiling counts them anyway.
    pub tmpfs_bytes: u64,
}

/// A step that failed: what, and why.
pub type Failed = (String, io::Error);

/// System folders of the host that an app needs to run programs: links are copied as links.
const SYSTEM: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc"];

const SHARED: Attributes =
    Attributes::READ_ONLY.and(Attributes::NO_SUID).and(Attributes::NO_DEVICES);

/// Builds the root and moves into it. The process must be alone in a fresh mount namespace, and
/// PID 1 of its pid namespace; it ends with `/` as its working directory.
///
/// # Errors
/// The step that failed; the process must end then.
pub fn enter(cage: &Cage<'_>) -> Result<(), Failed> {
    // Nothing done here may reach the host, nothing the host mounts later may appear here.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(at("make the mounts private"))?;
    let system = open_system()?;
    let own = open_own(cage)?;
    let resolver = resolver_file();

    // Everything of the host is in hand by now, so any folder serves as a first place.
    mount_tmpfs("/proc", "0755", 1 << 20, MountFlags::NOSUID | MountFlags::NODEV)?;
    let root = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open the root"))?;
    rustix::process::fchdir(&root).map_err(at("enter the root"))?;

    // Up to here every name is a plain one on the new root: there is no link to follow.
    for (name, tree) in system {
        match tree {
            System::Link(to) => symlink(to, name).map_err(|e| (format!("link \"/{name}\""), e))?,
            System::Folder(tree) => {
                make_folder(name)?;
                attach_at(tree.as_fd(), root.as_fd(), name)
                    .map_err(|e| (format!("attach \"/{name}\""), e))?;
            }
        }
    }
    private_folders(cage)?;
    devices(cage)?;
    kernel_files(root.as_fd(), cage)?;
    if let Some((path, text)) = resolver {
        // A name service's file that a link in /etc leads to; a cage without it still starts.
        let _ = make_place(root.as_fd(), &path, false, None)
            .and_then(|()| fs::write(relative(&path), text));
    }
    // Last, since a base may lie below a folder that is private.
    attach_own(&own, &root)?;

    rustix::process::pivot_root(".", ".").map_err(at("change the root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(at("leave the host's root"))?;
    rustix::process::chdir("/").map_err(at("enter \"/\""))?;
    make_read_only("/", MountFlags::NOSUID | MountFlags::NODEV)
}

enum System {
    Folder(OwnedFd),
    Link(PathBuf),
}

/// The host's system folders, and its links to them.
fn open_system() -> Result<Vec<(&'static str, System)>, Failed> {
    let mut found = Vec::new();
    for name in SYSTEM {
        let path = Path::new("/").join(name);
        match fs::read_link(&path) {
            Ok(to) => found.push((name, System::Link(to))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Not a link: what it is shows when it is opened.
            Err(_) => found.push((name, System::Folder(open(&path, SHARED)?))),
        }
    }
    Ok(found)
}

struct Shown {
    tree: OwnedFd,
    target: PathBuf,
    is_folder: bool,
}

/// The environment's own, in the order in which it is attached: outer before inner.
fn open_own(cage: &Cage<'_>) -> Result<Vec<Shown>, Failed> {
    let writable = Attributes::NO_SUID.and(Attributes::NO_DEVICES);
    let mut own: Vec<(&Path, Attributes)> = vec![(cage.base, SHARED)];
    own.extend(cage.read_only.iter().map(|path| (path.as_path(), SHARED)));
    own.extend(cage.writable.iter().map(|path| (path.as_path(), writable)));
    own.sort_by_key(|(path, _)| path.components().count());
    let mut shown = Vec::with_capacity(own.len());
    for (path, attributes) in own {
        let tree = open(path, attributes)?;
        let found = rustix::fs::fstat(&tree).map_err(at("look at a folder"))?;
        // Looked at when the profile was resolved, and once more now: a folder that is gone could have
        // been made anew by somebody else since.
        let owner = found.st_uid;
        if path == cage.base && owner != 0 && owner != cage.uid {
            let why = format!("it belongs to uid {owner} now");
            let why = io::Error::new(io::ErrorKind::PermissionDenied, why);
            return Err((named("trust", path), why));
        }
        let is_folder = FileType::from_raw_mode(found.st_mode).is_dir();
        shown.push(Shown { tree, target: path.to_owned(), is_folder });
    }
    Ok(shown)
}

fn open(path: &Path, attributes: Attributes) -> Result<OwnedFd, Failed> {
    let tree = copy_of(path).map_err(|e| (named("open", path), e))?;
    set_attributes(tree.as_fd(), attributes, true).map_err(|e| (named("protect", path), e))?;
    Ok(tree)
}

/// Attaches the environment's own trees. Places for them are made on the new root and the private
/// folders alone, never inside a tree that came from the host: an app could exchange its parts meanwhile.
fn attach_own(own: &[Shown], root: &OwnedFd) -> Result<(), Failed> {
    let private = ["tmp", "run"];
    let devices: Vec<u64> = std::iter::once(rustix::fs::fstat(root))
        .chain(private.iter().map(|path| rustix::fs::stat(*path)))
        .filter_map(Result::ok)
        .map(|found| found.st_dev)
        .collect();
    for Shown { tree, target, is_folder } in own {
        make_place(root.as_fd(), target, *is_folder, Some(&devices))
            .map_err(|e| (named("make", target), e))?;
        attach(tree.as_fd(), root.as_fd(), target).map_err(|e| (named("attach", target), e))?;
    }
    Ok(())
}

fn private_folders(cage: &Cage<'_>) -> Result<(), Failed> {
    let no_programs = MountFlags::NOSUID | MountFlags::NODEV;
    for (path, mode) in [("tmp", "1777"), ("run", "0755")] {
        make_folder(path)?;
        mount_tmpfs(path, mode, cage.tmpfs_bytes, no_programs)?;
    }
    make_folder("var")?;
    for (link, to) in [("var/tmp", "../tmp"), ("var/run", "../run")] {
        symlink(to, link).map_err(|e| (format!("link \"/{link}\""), e))?;
    }
    // Its folder in /etc stays, its content does not.
    if fs::symlink_metadata("etc/swrun").is_ok_and(|found| found.is_dir()) {
        mount_tmpfs("etc/swrun", "0000", 4096, no_programs | MountFlags::RDONLY)?;
    }
    Ok(())
}

/// A `/dev` of its own: no terminal, no disk, no kernel memory.
fn devices(cage: &Cage<'_>) -> Result<(), Failed> {
    make_folder("dev")?;
    let own = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_tmpfs("dev", "0755", 64 << 10, own)?;
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        let path = format!("dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        let device = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, mode, device)
            .and_then(|()| rustix::fs::chmod(&path, mode))
            .map_err(at("make the devices"))?;
    }
    for (name, to) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(to, format!("dev/{name}")).map_err(|e| (format!("link \"/dev/{name}\""), e))?;
    }
    make_folder("dev/shm")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_tmpfs("dev/shm", "1777", cage.tmpfs_bytes, flags)?;
    make_read_only("dev", own)
}

/// `/proc` of the own pid namespace, `/sys` read-only, and in it the app's own cgroup.
fn kernel_files(root: BorrowedFd<'_>, cage: &Cage<'_>) -> Result<(), Failed> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (kind, name, flags) in
        [(c"proc", "proc", flags), (c"sysfs", "sys", flags | MountFlags::RDONLY)]
    {
        make_folder(name)?;
        rustix::mount::mount(kind, name, kind, flags, None::<&CStr>)
            .map_err(at(&format!("mount \"/{name}\"")))?;
    }
    let cgroups = Path::new("/sys/fs/cgroup");
    if cage.views.iter().any(|(_, target)| target != cgroups) {
        // A hybrid host's controllers are folders, for which sysfs has no place.
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount_tmpfs("sys/fs/cgroup", "0755", 4096 * 16, flags)?;
    }
    for (source, target) in cage.views {
        let tree = open(source, SHARED.and(Attributes::NO_EXEC))?;
        if target != cgroups {
            make_place(root, target, true, None).map_err(|e| (named("make", target), e))?;
        }
        attach(tree.as_fd(), root, target).map_err(|e| (named("attach", target), e))?;
    }
    Ok(())
}

/// A folder on what is the cage's own so far.
fn make_folder(path: &str) -> Result<(), Failed> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).map_err(at(&format!("make \"/{path}\"")))
}

/// A mount that is there, with `flags`.
fn make_read_only(path: &str, flags: MountFlags) -> Result<(), Failed> {
    let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
    let step = || format!("{} read-only", named("make", &Path::new("/").join(path)));
    rustix::mount::mount_remount(path, flags, c"").map_err(|e| (step(), e.into()))
}

fn mount_tmpfs(path: &str, mode: &str, bytes: u64, flags: MountFlags) -> Result<(), Failed> {
    let options = CString::new(format!("mode={mode},size={bytes}"));
    let options = options.map_err(|e| (format!("mount \"/{path}\""), e.into()))?;
    rustix::mount::mount(c"tmpfs", path, c"tmpfs", flags, options.as_c_str())
        .map_err(at(&format!("mount \"/{path}\"")))
}

/// Makes `path` below `root`: folders, and for a file an empty file, part by part and over no link.
/// What is there stays; something is made only on one of `devices`, where they are given.
fn make_place(
    root: BorrowedFd<'_>,
    path: &Path,
    is_folder: bool,
    devices: Option<&[u64]>,
) -> io::Result<()> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
    let open = |folder: BorrowedFd<'_>, path: &Path| {
        rustix::fs::openat2(folder, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let parts: Vec<_> = relative(path).components().collect();
    let mut here = open(root, Path::new("."))?;
    for (index, part) in parts.iter().enumerate() {
        let name: &Path = part.as_ref();
        here = match open(here.as_fd(), name) {
            Err(rustix::io::Errno::NOENT) => {
                let device = rustix::fs::fstat(&here)?.st_dev;
                if devices.is_some_and(|devices| !devices.contains(&device)) {
                    return Err(rustix::io::Errno::NOENT.into());
                }
                if is_folder || index + 1 < parts.len() {
                    rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755))?;
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    rustix::fs::openat(&here, name, flags, Mode::from_raw_mode(0o644))?;
                }
                open(here.as_fd(), name)?
            }
            found => found?,
        };
    }
    Ok(())
}

/// The file that `/etc/resolv.conf` leads to when it lies in the host's `/run`, which the app does
/// not see, and its text.
fn resolver_file() -> Option<(PathBuf, Vec<u8>)> {
    let path = fs::canonicalize("/etc/resolv.conf").ok()?;
    let text = path.starts_with("/run").then(|| fs::read(&path))?.ok()?;
    Some((path, text))
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn named(verb: &str, path: &Path) -> String {
    format!("{verb} \"{}\"", path.display())
}

fn at(step: &str) -> impl FnOnce(rustix::io::Errno) -> Failed {
    let step = step.to_owned();
    move |error| (step, error.into())
}
