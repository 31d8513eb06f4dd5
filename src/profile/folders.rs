//! Who could put something else in a path's place: whoever may write a folder on the way to it.
//!
//! Root takes such a path from a profile and mounts it, so it must mean tomorrow what it means today.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::problem::quoted_path;

/// Who may own and write what lies on the way, besides root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trusted<'a> {
    /// Its name, for messages.
    pub(super) user: &'a str,
    pub(super) uid: u32,
    /// The group that may have write access; none trusts no group.
    pub(super) gid: Option<u32>,
}

/// A folder or link through which somebody else comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weakness {
    pub(super) place: PathBuf,
    pub(super) why: String,
    pub(super) fix: String,
}

/// A path as the kernel follows it.
pub(super) struct Way {
    /// Where it ends: absolute, without links.
    pub(super) end: PathBuf,
    /// Every folder and link on the way, from `/` on, and the end itself.
    pub(super) passed: Vec<(PathBuf, Metadata)>,
}

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// Follows an absolute path, link by link.
///
/// # Errors
/// Of lstat(2) and readlink(2): something on the way is missing or cannot be read.
pub(super) fn follow(path: &Path) -> io::Result<Way> {
    let mut ahead: VecDeque<OsString> = path.components().map(|c| c.as_os_str().into()).collect();
    let mut end = PathBuf::from("/");
    let mut passed = vec![(end.clone(), fs::symlink_metadata(&end)?)];
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::ParentDir) => {
                end.pop();
                continue;
            }
            Some(Component::Normal(_)) => {}
            Some(Component::RootDir) => {
                end = PathBuf::from("/");
                continue;
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => continue,
        }
        let next = end.join(&part);
        let metadata = fs::symlink_metadata(&next)?;
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = fs::read_link(&next)?;
            for part in target.components().rev() {
                ahead.push_front(part.as_os_str().into());
            }
        } else if !metadata.is_dir() && !ahead.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        } else {
            end.clone_from(&next);
        }
        passed.push((next, metadata));
    }
    Ok(Way { end, passed })
}

impl Way {
    /// What the end is.
    pub(super) fn is_folder(&self) -> bool {
        self.passed.iter().any(|(path, metadata)| *path == self.end && metadata.is_dir())
    }

    /// A link on the way that is not root's, where the end does not belong to `uid`: with it the user
    /// would choose what root opens. What is the user's own it may choose.
    pub(super) fn led_astray(&self, uid: Option<u32>) -> Option<&Path> {
        let owns_end = self
            .passed
            .iter()
            .any(|(path, metadata)| *path == self.end && Some(metadata.uid()) == uid);
        let is_foreign = |metadata: &Metadata| metadata.is_symlink() && metadata.uid() != 0;
        let link = self.passed.iter().find(|(_, metadata)| is_foreign(metadata));
        link.map(|(path, _)| path.as_path()).filter(|_| !owns_end)
    }

    /// The first place on the way that somebody besides root and `trusted` could change.
    pub(super) fn weakness(&self, trusted: Trusted<'_>) -> Option<Weakness> {
        self.passed.iter().find_map(|(place, metadata)| {
            let (why, fix) = weak(place, metadata, trusted, *place == self.end)?;
            Some(Weakness { place: place.clone(), why, fix })
        })
    }
}

fn weak(
    place: &Path,
    metadata: &Metadata,
    trusted: Trusted<'_>,
    is_end: bool,
) -> Option<(String, String)> {
    let shown = shell_word(place);
    let owner = metadata.uid();
    if owner != 0 && owner != trusted.uid {
        let new = if is_end { trusted.user } else { "root" };
        let chown = if metadata.is_symlink() { "chown -h" } else { "chown" };
        let why = format!("{} belongs to uid {owner}", quoted_path(place));
        return Some((why, format!("{chown} {new} {shown}")));
    }
    // The mode of a link says nothing, and in a sticky folder nobody replaces what is another's
    // (the owner of what follows is looked at in its turn).
    let mode = metadata.mode();
    if metadata.is_symlink() || (mode & 0o1000 != 0 && !is_end) {
        return None;
    }
    if mode & 0o002 != 0 {
        let why = format!("{} can be written by everybody", quoted_path(place));
        return Some((why, format!("chmod o-w {shown}")));
    }
    if mode & 0o020 != 0 {
        let group = metadata.gid();
        if trusted.gid != Some(group) {
            let why = format!("{} can be written by the group {group}", quoted_path(place));
            return Some((why, format!("chmod g-w {shown}")));
        }
        // With an access list the group bits are only its upper bound (acl(5)).
        if has_access_list(place) {
            let why =
                format!("{} can be written by others over its access list", quoted_path(place));
            return Some((why, format!("setfacl -b {shown}")));
        }
    }
    None
}

/// Whether a path has an access list besides its mode; one that cannot be read counts.
fn has_access_list(place: &Path) -> bool {
    let mut list = [0_u8; 1024];
    match rustix::fs::lgetxattr(place, "system.posix_acl_access", &mut list) {
        Ok(size) => size > 0,
        Err(error) => !matches!(error, rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP),
    }
}

/// The path as it can be given to a shell.
pub(super) fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-+:,@%=".contains(c)) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    const USER: Trusted<'_> = Trusted { user: "daemon", uid: 1, gid: Some(1) };

    fn weak_place(path: &Path) -> Option<(PathBuf, String)> {
        let weakness = follow(path).expect("the path is there").weakness(USER)?;
        Some((weakness.place, weakness.fix))
    }

    #[test]
    fn who_may_write_a_folder_on_the_way_comes_in() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let outer = temp.path().canonicalize().expect("it is there").join("outer");
        let inner = outer.join("inner");
        fs::create_dir_all(&inner).expect("folders are made");
        let set = |path: &Path, owner: u32, group: u32, mode: u32| {
            chown(path, Some(owner), Some(group)).expect("root may chown");
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("root may chmod");
        };
        let fix =
            |verb: &str, path: &Path| Some((path.to_owned(), format!("{verb} {}", path.display())));

        // Owner, group and mode of the outer folder, then of the inner; what is found.
        for (outer_is, inner_is, found) in [
            ((0, 0, 0o755), (1, 1, 0o750), None),
            ((1, 1, 0o770), (1, 1, 0o770), None),
            ((2, 0, 0o755), (1, 1, 0o750), fix("chown root", &outer)),
            ((0, 0, 0o755), (2, 1, 0o750), fix("chown daemon", &inner)),
            ((0, 0, 0o777), (1, 1, 0o750), fix("chmod o-w", &outer)),
            ((0, 0, 0o1777), (1, 1, 0o750), None),
            ((0, 0, 0o1777), (2, 1, 0o750), fix("chown daemon", &inner)),
            ((0, 0, 0o755), (0, 0, 0o1777), fix("chmod o-w", &inner)),
            ((0, 2, 0o775), (1, 1, 0o750), fix("chmod g-w", &outer)),
            ((0, 0, 0o755), (1, 2, 0o770), fix("chmod g-w", &inner)),
        ] {
            set(&outer, outer_is.0, outer_is.1, outer_is.2);
            set(&inner, inner_is.0, inner_is.1, inner_is.2);
            assert_eq!(weak_place(&inner), found, "{outer_is:?} {inner_is:?}");
        }
    }

    #[test]
    fn a_link_counts_with_its_owner_and_the_way_it_leads() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let top = temp.path().canonicalize().expect("it is there");
        let (open, target, link) = (top.join("open"), top.join("open/target"), top.join("link"));
        fs::create_dir_all(&target).expect("folders are made");
        symlink("open/target", &link).expect("a link is made");
        assert_eq!(follow(&link).expect("it leads on").end, target);
        assert_eq!(weak_place(&link), None);

        lchown(&link, Some(2), None).expect("root may chown");
        assert_eq!(
            weak_place(&link),
            Some((link.clone(), format!("chown -h root {}", link.display())))
        );
        lchown(&link, Some(0), None).expect("root may chown");
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("root may chmod");
        assert_eq!(weak_place(&link).map(|(place, _)| place), Some(open));

        symlink("ring", top.join("ring")).expect("a link is made");
        let error = follow(&top.join("ring")).err().and_then(|error| error.raw_os_error());
        assert_eq!(error, Some(libc::ELOOP));
    }

    #[test]
    fn an_access_list_lets_others_in_too() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let folder = temp.path().canonicalize().expect("it is there").join("app");
        fs::create_dir(&folder).expect("a folder is made");
        chown(&folder, Some(1), Some(1)).expect("root may chown");
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o770)).expect("root may chmod");
        assert_eq!(weak_place(&folder), None);
        // Version 2, then tag, permissions and id of each entry (linux/posix_acl_xattr.h): the
        // owner, uid 2, the group, the mask, others.
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, id) in [(1, 7, -1), (2, 7, 2), (4, 7, -1), (0x10, 7, -1), (0x20, 0, -1)] {
            list.extend([u16::to_le_bytes(tag), u16::to_le_bytes(bits)].concat());
            list.extend(i32::to_le_bytes(id));
        }
        let name = "system.posix_acl_access";
        match rustix::fs::setxattr(&folder, name, &list, rustix::fs::XattrFlags::empty()) {
            Ok(()) => {
                let fix = format!("setfacl -b {}", folder.display());
                assert_eq!(weak_place(&folder), Some((folder, fix)));
            }
            Err(error) => eprintln!("skipped: no access lists on this file system: {error}"),
        }
    }
}
