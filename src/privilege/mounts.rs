//! The root that an app sees: built from nothing on a tmpfs, then only what is listed here.
//!
//! `/usr` and its kin and `/etc` read-only, the environment's own folders, private `/tmp`,
//! `/dev/shm`, `/run`, own `/dev`, `/proc`, `/sys`, and its own cgroup. What is not listed is not
//! there: other environments, `/root`, `/home`, swrun's folders.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::sys::mount::{Attributes, attach, attach_over, copy_of, set_attributes};

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
const SYSTEM: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

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

    // Everything of the host is in hand by descriptor now, so any folder serves as a first place.
    let root = tmpfs("0755", 1 << 20, MountAttrFlags::empty()).map_err(at("make the root"))?;
    let place = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open \"/proc\""))?;
    attach_over(root.as_fd(), place.as_fd()).map_err(|e| ("attach the root".to_owned(), e))?;
    rustix::process::fchdir(&root).map_err(at("enter the root"))?;

    attach_all(&system, &root, &[])?;
    system_links()?;
    private_folders(root.as_fd(), cage)?;
    devices(root.as_fd(), cage)?;
    kernel_files(root.as_fd(), cage)?;
    if let Some((path, text)) = resolver {
        // A name service's file that a link in /etc leads to; a cage without it still starts.
        let _ = make_place(root.as_fd(), &path, false, None)
            .and_then(|()| fs::write(relative(&path), text));
    }
    // Last, since a base may lie below a folder that is private.
    attach_all(&own, &root, &["tmp", "run", "var"])?;

    rustix::process::pivot_root(".", ".").map_err(at("change the root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(at("leave the host's root"))?;
    rustix::process::chdir("/").map_err(at("enter \"/\""))?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open \"/\""))?;
    set_attributes(root.as_fd(), SHARED, false)
        .map_err(|e| ("make the root read-only".to_owned(), e))
}

struct Shown {
    tree: OwnedFd,
    target: PathBuf,
    is_folder: bool,
}

fn open_system() -> Result<Vec<Shown>, Failed> {
    let mut shown = Vec::new();
    for name in SYSTEM {
        let path = Path::new("/").join(name);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            shown.push(open(&path, SHARED)?);
        }
    }
    shown.push(open(Path::new("/etc"), SHARED)?);
    Ok(shown)
}

/// The environment's own, in the order in which it is attached: outer before inner.
fn open_own(cage: &Cage<'_>) -> Result<Vec<Shown>, Failed> {
    let writable = Attributes::NO_SUID.and(Attributes::NO_DEVICES);
    let mut own: Vec<(&Path, Attributes)> = vec![(cage.base, SHARED)];
    own.extend(cage.read_only.iter().map(|path| (path.as_path(), SHARED)));
    own.extend(cage.writable.iter().map(|path| (path.as_path(), writable)));
    own.sort_by_key(|(path, _)| path.components().count());
    let own: Vec<Shown> = own
        .into_iter()
        .map(|(path, attributes)| open(path, attributes))
        .collect::<Result<_, _>>()?;
    // Looked at when the profile was resolved, and once more now: a folder that is gone could have been
    // made anew by somebody else since.
    for shown in own.iter().filter(|shown| shown.target == cage.base) {
        let owner = rustix::fs::fstat(&shown.tree).map_err(at("look at the base"))?.st_uid;
        if owner != 0 && owner != cage.uid {
            let why = format!("it belongs to uid {owner} now");
            return Err((
                named("trust", cage.base),
                io::Error::new(io::ErrorKind::PermissionDenied, why),
            ));
        }
    }
    Ok(own)
}

fn open(path: &Path, attributes: Attributes) -> Result<Shown, Failed> {
    let tree = copy_of(path).map_err(|e| (named("open", path), e))?;
    set_attributes(tree.as_fd(), attributes, true).map_err(|e| (named("protect", path), e))?;
    let kind = rustix::fs::fstat(&tree).map_err(at("look at a folder"))?.st_mode;
    let is_folder = FileType::from_raw_mode(kind).is_dir();
    Ok(Shown { tree, target: path.to_owned(), is_folder })
}

/// Attaches trees. Places for them are made on the new root and the private folders `own` alone, never
/// inside a tree that came from the host: an app could exchange its parts meanwhile.
fn attach_all(shown: &[Shown], root: &OwnedFd, own: &[&str]) -> Result<(), Failed> {
    let devices: Vec<u64> = std::iter::once(rustix::fs::fstat(root))
        .chain(own.iter().map(|path| rustix::fs::stat(*path)))
        .filter_map(Result::ok)
        .map(|found| found.st_dev)
        .collect();
    for Shown { tree, target, is_folder } in shown {
        make_place(root.as_fd(), target, *is_folder, Some(&devices))
            .map_err(|e| (named("make", target), e))?;
        attach(tree.as_fd(), root.as_fd(), target).map_err(|e| (named("attach", target), e))?;
    }
    Ok(())
}

/// `/bin -> usr/bin` and its kin, as the host has them. The host is reachable at `/` until the pivot.
fn system_links() -> Result<(), Failed> {
    for name in SYSTEM {
        if let Ok(to) = fs::read_link(Path::new("/").join(name)) {
            symlink(to, name).map_err(|e| (format!("link \"/{name}\""), e))?;
        }
    }
    Ok(())
}

fn private_folders(root: BorrowedFd<'_>, cage: &Cage<'_>) -> Result<(), Failed> {
    let no_programs = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    for (path, mode) in [("tmp", "1777"), ("run", "0755")] {
        mount_new_tmpfs(root, path, mode, cage.tmpfs_bytes, no_programs)?;
    }
    make_here(root, Path::new("/var"))?;
    // What a base below /var brought is left as it is.
    for (link, to) in [("var/tmp", "../tmp"), ("var/run", "../run")] {
        match symlink(to, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err((format!("link \"/{link}\""), error));
            }
            _ => {}
        }
    }
    // Its folder in /etc stays, its content does not.
    if Path::new("etc/swrun").is_dir() {
        mount_new_tmpfs(
            root,
            "etc/swrun",
            "0000",
            4096,
            no_programs | MountAttrFlags::MOUNT_ATTR_RDONLY,
        )?;
    }
    Ok(())
}

/// A `/dev` of its own: no terminal, no disk, no kernel memory.
fn devices(root: BorrowedFd<'_>, cage: &Cage<'_>) -> Result<(), Failed> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_new_tmpfs(root, "dev", "0755", 64 << 10, flags)?;
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        let path = format!("dev/{name}");
        let device = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )
        .and_then(|()| rustix::fs::chmod(&path, Mode::from_raw_mode(0o666)))
        .map_err(at("make the devices"))?;
    }
    for (name, to) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(to, format!("dev/{name}")).map_err(|e| (format!("link \"/dev/{name}\""), e))?;
    }
    fs::create_dir("dev/shm").map_err(|e| ("make \"/dev/shm\"".to_owned(), e))?;
    let shm = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_new_tmpfs(root, "dev/shm", "1777", cage.tmpfs_bytes, shm)?;
    let dev = rustix::fs::open("dev", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open \"/dev\""))?;
    set_attributes(dev.as_fd(), Attributes::READ_ONLY, false)
        .map_err(|e| ("make \"/dev\" read-only".to_owned(), e))
}

/// `/proc` of the own pid namespace, `/sys` read-only, and in it the app's own cgroup.
fn kernel_files(root: BorrowedFd<'_>, cage: &Cage<'_>) -> Result<(), Failed> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (kind, target, flags) in
        [(c"proc", c"proc", flags), (c"sysfs", c"sys", flags | MountFlags::RDONLY)]
    {
        let name = target.to_string_lossy();
        fs::create_dir(&*name).map_err(|e| (format!("make \"/{name}\""), e))?;
        rustix::mount::mount(kind, target, kind, flags, None::<&CStr>)
            .map_err(at(&format!("mount \"/{name}\"")))?;
    }
    let cgroups = Path::new("/sys/fs/cgroup");
    if cage.views.iter().any(|(_, target)| target != cgroups) {
        // A hybrid host's controllers are folders, for which sysfs has no place.
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        mount_at("sys/fs/cgroup", "0755", 4096 * 16, flags)?;
    }
    for (source, target) in cage.views {
        let tree = copy_of(source).map_err(|e| (named("open", source), e))?;
        set_attributes(tree.as_fd(), SHARED.and(Attributes::NO_EXEC), true)
            .map_err(|e| (named("protect", source), e))?;
        if target != cgroups {
            make_here(root, target)?;
        }
        attach(tree.as_fd(), root, target).map_err(|e| (named("attach", target), e))?;
    }
    Ok(())
}

fn mount_new_tmpfs(
    root: BorrowedFd<'_>,
    path: &str,
    mode: &str,
    bytes: u64,
    flags: MountAttrFlags,
) -> Result<(), Failed> {
    make_here(root, Path::new(path))?;
    mount_at(path, mode, bytes, flags)
}

fn mount_at(path: &str, mode: &str, bytes: u64, flags: MountAttrFlags) -> Result<(), Failed> {
    let step = || format!("mount \"/{path}\"");
    let tree = tmpfs(mode, bytes, flags).map_err(at(&step()))?;
    let place =
        rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(at(&step()))?;
    attach_over(tree.as_fd(), place.as_fd()).map_err(|e| (step(), e))
}

/// A folder on what is the cage's own so far.
fn make_here(root: BorrowedFd<'_>, path: &Path) -> Result<(), Failed> {
    make_place(root, path, true, None).map_err(|e| (named("make", path), e))
}

fn tmpfs(mode: &str, bytes: u64, flags: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "mode", mode)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "size", bytes.to_string().as_str())?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
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
                    return Err(io::ErrorKind::NotFound.into());
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
