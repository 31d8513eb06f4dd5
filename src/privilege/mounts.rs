//! The root that an app sees: built from nothing on a tmpfs, then only what is listed here.
//!
//! `/usr` and its kin and chosen files of `/etc` read-only, the environment's own folders, private `/tmp`,
//! `/dev/shm`, `/run`, own `/dev` and `/proc`, parts of `/sys`, and its own cgroup. What is not listed is not
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

/// Leaves the host's root in place, with a `/proc` of the own pid namespace: what tests compare with.
///
/// # Errors
/// mount(2).
pub fn stay() -> Result<(), Failed> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(at("make the mounts private"))?;
    rustix::mount::mount(c"proc", "/proc", c"proc", OF_KERNEL, None::<&CStr>)
        .map_err(at("mount \"/proc\""))
}

/// What is to be seen, every path absolute and without links.
#[derive(Debug)]
pub struct Cage<'a> {
    /// The kernel's own files about the machine are hidden: always, but in tests.
    pub has_proc: bool,
    /// The environment's folder, read-only.
    pub base: &'a Path,
    /// Its user: the folder must be that user's, or root's.
    pub uid: u32,
    /// Folders that can be written.
    pub writable: &'a [PathBuf],
    /// Further files and folders, read-only.
    pub read_only: &'a [PathBuf],
    /// The working directory.
    pub cwd: &'a Path,
    /// A folder below `base` that is shown at `cwd`, read-only where that is not among `writable`.
    pub release: Option<&'a Path>,
    /// The folders of [`super::etc::Etc`]: shared, own.
    pub etc: (&'a Path, &'a Path),
    /// Folders of the app's cgroup, and where they belong.
    pub views: &'a [(PathBuf, PathBuf)],
    /// The bound of each private tmpfs in bytes; the memory ceiling counts them anyway.
    pub tmpfs_bytes: u64,
}

/// A step that failed: what, and why.
pub type Failed = (String, io::Error);

/// System folders of the host that an app needs to run programs: links are copied as links.
const SYSTEM: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Parts of `/sys` that runtimes read: processors, memory nodes and clocks; huge pages.
const OF_SYSFS: [&str; 2] = ["sys/devices/system", "sys/kernel/mm"];

/// What is hidden of `/proc`: what the kernel tells of the whole machine, as container runtimes hide it.
const HIDDEN: [&str; 12] = [
    "acpi",
    "asound",
    "cmdline",
    "interrupts",
    "kcore",
    "key-users",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];

/// What is read-only of `/proc`, beside the modes of the files.
const READ_ONLY: [&str; 6] = ["bus", "fs", "irq", "pressure", "sys", "sysrq-trigger"];

const OF_KERNEL: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

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
    let etc = open_etc(cage)?;
    let of_sysfs = open_sysfs();
    let own = open_own(cage)?;

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
    make_folder("etc")?;
    for (name, tree) in etc {
        attach_at(tree.as_fd(), root.as_fd(), &name)
            .map_err(|e| (format!("attach \"/{name}\""), e))?;
    }
    private_folders(cage)?;
    devices(cage)?;
    proc_files(cage.has_proc)?;
    sys_files(root.as_fd(), &of_sysfs, cage)?;
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

/// The chosen files of `/etc`, and over them the environment's own.
fn open_etc(cage: &Cage<'_>) -> Result<Vec<(String, OwnedFd)>, Failed> {
    let attributes = SHARED.and(Attributes::NO_EXEC);
    let (shared, own) = cage.etc;
    let mut trees = vec![("etc".to_owned(), open(shared, attributes)?)];
    for name in super::etc::OWN {
        trees.push((format!("etc/{name}"), open(&own.join(name), attributes)?));
    }
    Ok(trees)
}

/// Those parts of `/sys` that the host has.
fn open_sysfs() -> Vec<(&'static str, OwnedFd)> {
    let open = |name: &'static str| {
        let tree = open(&Path::new("/").join(name), SHARED.and(Attributes::NO_EXEC));
        tree.ok().map(|tree| (name, tree))
    };
    OF_SYSFS.into_iter().filter_map(open).collect()
}

struct Shown {
    tree: OwnedFd,
    target: PathBuf,
    is_folder: bool,
}

/// The environment's own, in the order in which it is attached: outer before inner.
fn open_own(cage: &Cage<'_>) -> Result<Vec<Shown>, Failed> {
    let writable = Attributes::NO_SUID.and(Attributes::NO_DEVICES);
    // Code is not written: but for a folder that has the working directory in it nothing is executed there.
    let of_data = writable.and(Attributes::NO_EXEC);
    // What is opened, where it is shown, and how.
    let mut own: Vec<(PathBuf, &Path, Attributes)> =
        vec![(cage.base.to_owned(), cage.base, SHARED)];
    let mut add =
        |path: &'_ PathBuf, target, attributes| own.push((path.clone(), target, attributes));
    for path in cage.read_only {
        add(path, path, SHARED);
    }
    let mut of_release = SHARED;
    for path in cage.writable {
        let attributes = if cage.cwd.starts_with(path) { writable } else { of_data };
        match path == cage.cwd && cage.release.is_some() {
            true => of_release = attributes,
            false => add(path, path, attributes),
        }
    }
    let release = cage.release.map(|release| cage.base.join(release));
    if let Some(release) = &release {
        add(release, cage.cwd, of_release);
    }
    own.sort_by_key(|(_, target, _)| target.components().count());
    let mut shown = Vec::with_capacity(own.len());
    for (path, target, attributes) in own {
        let tree = open(&path, attributes)?;
        let found = rustix::fs::fstat(&tree).map_err(at("look at a folder"))?;
        // Looked at when the profile was resolved, and once more now: a folder that is gone could have
        // been made anew by somebody else since.
        let owner = found.st_uid;
        let is_trusted = path == cage.base || release.as_ref() == Some(&path);
        if is_trusted && owner != 0 && owner != cage.uid {
            let why = format!("it belongs to uid {owner} now");
            let why = io::Error::new(io::ErrorKind::PermissionDenied, why);
            return Err((named("trust", &path), why));
        }
        let is_folder = FileType::from_raw_mode(found.st_mode).is_dir();
        shown.push(Shown { tree, target: target.to_owned(), is_folder });
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
    // Java and others unpack their libraries below /tmp.
    let own = MountFlags::NOSUID | MountFlags::NODEV;
    for (path, mode, flags) in [("tmp", "1777", own), ("run", "0755", own | MountFlags::NOEXEC)] {
        make_folder(path)?;
        mount_tmpfs(path, mode, cage.tmpfs_bytes, flags)?;
    }
    make_folder("var")?;
    for (link, to) in [("var/tmp", "../tmp"), ("var/run", "../run")] {
        symlink(to, link).map_err(|e| (format!("link \"/{link}\""), e))?;
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
    mount_tmpfs("dev/shm", "1777", cage.tmpfs_bytes, OF_KERNEL)?;
    make_read_only("dev", own)
}

/// `/proc` of the own pid namespace, without what tells of the machine.
fn proc_files(is_hidden: bool) -> Result<(), Failed> {
    make_folder("proc")?;
    rustix::mount::mount(c"proc", "proc", c"proc", OF_KERNEL, None::<&CStr>)
        .map_err(at("mount \"/proc\""))?;
    if !is_hidden {
        return Ok(());
    }
    for name in HIDDEN {
        hide(&format!("proc/{name}"))?;
    }
    for name in READ_ONLY {
        let path = format!("proc/{name}");
        match rustix::mount::mount_bind(&path, &path) {
            Ok(()) => make_read_only(&path, OF_KERNEL)?,
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(at(&format!("protect \"/{path}\""))(error)),
        }
    }
    Ok(())
}

/// Parts of `/sys`, read-only, and in it the app's own cgroup.
fn sys_files(
    root: BorrowedFd<'_>,
    parts: &[(&str, OwnedFd)],
    cage: &Cage<'_>,
) -> Result<(), Failed> {
    make_folder("sys")?;
    mount_tmpfs("sys", "0755", 64 << 10, OF_KERNEL)?;
    for (name, tree) in parts {
        // Plain names on what is the cage's own.
        for (end, _) in name.match_indices('/').filter(|(at, _)| *at > 3) {
            let _ = rustix::fs::mkdir(&name[..end], Mode::from_raw_mode(0o755));
        }
        make_folder(name)?;
        attach_at(tree.as_fd(), root, name).map_err(|e| (format!("attach \"/{name}\""), e))?;
    }
    for (source, target) in cage.views {
        let tree = open(source, SHARED.and(Attributes::NO_EXEC))?;
        place_and_attach(root, &tree, target)?;
    }
    // How often a processor was too hot tells its neighbours what others compute.
    if Path::new("sys/devices/system/cpu/cpu0/thermal_throttle").exists() {
        for entry in fs::read_dir("sys/devices/system/cpu").into_iter().flatten().flatten() {
            let path = entry.path().join("thermal_throttle");
            if let Some(path) = path.to_str() {
                hide(path)?;
            }
        }
    }
    make_read_only("sys", OF_KERNEL)
}

fn place_and_attach(root: BorrowedFd<'_>, tree: &OwnedFd, target: &Path) -> Result<(), Failed> {
    make_place(root, target, true, None).map_err(|e| (named("make", target), e))?;
    attach(tree.as_fd(), root, target).map_err(|e| (named("attach", target), e))
}

/// Covers what is at `path`, if something is: a file by an empty device, a folder by an empty one. Looked at
/// first: a mount that the kernel must take back waits for all its CPUs, a tenth of a millisecond and more.
fn hide(path: &str) -> Result<(), Failed> {
    let Ok(found) = rustix::fs::lstat(path) else { return Ok(()) };
    if FileType::from_raw_mode(found.st_mode).is_dir() {
        return mount_tmpfs(path, "0555", 4096, OF_KERNEL | MountFlags::RDONLY);
    }
    rustix::mount::mount_bind("dev/null", path).map_err(at(&format!("hide \"/{path}\"")))
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
    // A file without content costs memory too (tmpfs(5)).
    let inodes = (bytes / 4096).max(64);
    let options = CString::new(format!("mode={mode},size={bytes},nr_inodes={inodes}"));
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
