//! One more user who may read: POSIX access lists as the kernel keeps them (acl(5); Linux,
//! include/uapi/linux/posix_acl_xattr.h).

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fsetxattr};

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;

/// Tags: the owner, one user, the owning group, what all but the owner have at most, all others.
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// The id of an entry that needs none.
const NOBODY: u32 = u32::MAX;

const READ: u16 = 4;
const WRITE: u16 = 2;
const EXECUTE: u16 = 1;

/// Lets `uid` read a file of mode 0640.
///
/// # Errors
/// fsetxattr(2): `EOPNOTSUPP` where the file system has no access lists.
pub fn let_read(file: impl AsFd, uid: u32) -> io::Result<()> {
    let list = list(uid, READ | WRITE, READ);
    Ok(fsetxattr(file, "system.posix_acl_access", &list, XattrFlags::empty())?)
}

/// Lets `uid` into a folder of mode 0750, and read the files of mode 0640 that are made in it from here on.
///
/// # Errors
/// As [`let_read`].
pub fn let_into(folder: impl AsFd, uid: u32) -> io::Result<()> {
    let access = list(uid, READ | WRITE | EXECUTE, READ | EXECUTE);
    fsetxattr(&folder, "system.posix_acl_access", &access, XattrFlags::empty())?;
    let made = list(uid, READ | WRITE, READ);
    Ok(fsetxattr(&folder, "system.posix_acl_default", &made, XattrFlags::empty())?)
}

fn list(uid: u32, owner: u16, rest: u16) -> Vec<u8> {
    let entries = [
        (OWNER, owner, NOBODY),
        (USER, rest, uid),
        (GROUP, rest, NOBODY),
        (MASK, rest, NOBODY),
        (OTHERS, 0, NOBODY),
    ];
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}
