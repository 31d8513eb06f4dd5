//! mount_setattr(2) and the detached mounts it works on.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

/// Attributes of a mount (mount_setattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// No writing through it.
    pub const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// Set-user-id bits and file capabilities have no effect.
    pub const NO_SUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// Device files have no effect.
    pub const NO_DEVICES: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// Nothing is executed from it.
    pub const NO_EXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Sets `attributes` on `mount` and, where `recursive`, on all below it.
///
/// # Errors
/// mount_setattr(2); the kernel must be 5.12 or newer.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let set = MountAttr { attr_set: attributes.0, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // JUSTIFICATION: neither nix nor rustix has mount_setattr, and only it makes a whole tree
    // read-only in one step.
    // SAFETY: the kernel reads `set`, of the size given, during the call only.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const set,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A detached copy of what is mounted at `path`, mounts below it included. No link on the way is
/// followed: a path that an app could write must not lead root elsewhere.
///
/// # Errors
/// openat2(2) (`ELOOP`: there is a link in the path) or open_tree(2).
pub fn copy_of(path: &Path) -> io::Result<OwnedFd> {
    let source = openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(&source, c"", flags)?)
}

/// Attaches a detached mount at `target`, a path below the folder `root`; no link is followed.
///
/// # Errors
/// openat2(2) or move_mount(2).
pub fn attach(mount: BorrowedFd<'_>, root: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let relative = target.strip_prefix("/").unwrap_or(target);
    let place = openat2(
        root,
        relative,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH,
    )?;
    attach_at(mount, place.as_fd(), "")
}

/// Attaches a detached mount at `name`, below `root` or at `root` itself where it is empty.
///
/// # Errors
/// move_mount(2).
pub fn attach_at(mount: BorrowedFd<'_>, root: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, c"", root, name, flags)?)
}
