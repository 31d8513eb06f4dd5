//! Where the hierarchies are mounted, and which group a process is in: the formats of
//! `/proc/PID/mountinfo` (proc_pid_mountinfo(5)) and `/proc/PID/cgroup` (cgroups(7)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use super::{CgroupError, files};

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The group that is visible there: `/`, but in a container without a cgroup namespace.
    pub root: PathBuf,
}

/// What is mounted.
#[derive(Debug, Default)]
pub struct Layout {
    /// The v2 tree.
    pub unified: Option<Mount>,
    /// The v1 hierarchies, each with its controllers (`cpu` and `cpuacct` are often one).
    legacy: Vec<(Mount, Vec<String>)>,
}

impl Layout {
    /// Reads the file at `mountinfo`.
    ///
    /// # Errors
    /// It could not be read.
    pub fn read(mountinfo: &Path) -> Result<Self, CgroupError> {
        let text = files::read(mountinfo)
            .map_err(|error| files::failed("read the mounts in", mountinfo, error))?;
        Ok(Self::parse(&text))
    }

    /// Reads the text of a mountinfo. The first mount of a hierarchy counts, unless a later one
    /// shows more of it.
    fn parse(text: &str) -> Self {
        let mut layout = Self::default();
        for (mount, kind, options) in text.lines().filter_map(parse_line) {
            match kind {
                "cgroup2" => {
                    let shows_more = |old: &Mount| {
                        mount.root.components().count() < old.root.components().count()
                    };
                    if layout.unified.as_ref().is_none_or(shows_more) {
                        layout.unified = Some(mount);
                    }
                }
                "cgroup" => {
                    layout.legacy.push((mount, options.split(',').map(str::to_string).collect()));
                }
                _ => {}
            }
        }
        layout
    }

    /// The mount point of v1 `controller`.
    pub fn folder_of(&self, controller: &str) -> Option<PathBuf> {
        self.legacy
            .iter()
            .filter(|(_, controllers)| controllers.iter().any(|name| name == controller))
            .min_by_key(|(mount, _)| mount.root.components().count())
            .map(|(mount, _)| mount.point.clone())
    }
}

/// Mount, type and super block options of a line: `ID PARENT DEV ROOT POINT OPTIONS [TAGS] - TYPE
/// SOURCE OPTIONS`.
fn parse_line(line: &str) -> Option<(Mount, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (unescape(left.next()?), unescape(left.next()?));
    let mut right = right.split(' ');
    let kind = right.next()?;
    Some((Mount { point, root }, kind, right.nth(1)?))
}

/// Undoes the kernel's octal escapes (`\040` is a space).
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The group in the v2 tree that the text of a `/proc/PID/cgroup` names, below what `mount` shows
/// (empty for its root); `None` where it lies outside of that, was removed, or is not named.
pub fn own_group(text: &str, mount: &Mount) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = Path::new(path).strip_prefix(&mount.root).ok()?;
    let is_plain = below.components().all(|component| matches!(component, Component::Normal(_)));
    (is_plain && !path.ends_with(" (deleted)")).then(|| below.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw
";

    #[test]
    fn hierarchies_are_found_by_their_controllers() {
        let layout = Layout::parse(HYBRID);
        let both = Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(layout.folder_of("cpu"), both);
        assert_eq!(layout.folder_of("cpuacct"), both);
        assert_eq!(layout.folder_of("memory"), Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(layout.folder_of("pids"), None);
        let point = layout.unified.map(|mount| mount.point);
        assert_eq!(point, Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn the_mount_that_shows_more_wins_and_spaces_are_read() {
        let layout = Layout::parse(
            "1 0 0:1 /a/b /part rw - cgroup2 c rw\n2 0 0:1 / /my\\040tree rw - cgroup2 c rw\nnonsense\n",
        );
        assert_eq!(layout.unified, Some(Mount { point: "/my tree".into(), root: "/".into() }));
    }

    #[test]
    fn the_own_group_is_named_below_what_is_mounted() {
        let all = Mount { point: "/c".into(), root: "/".into() };
        let part = Mount { point: "/c".into(), root: "/docker/x".into() };
        let group = |text: &str, mount| own_group(text, mount);
        assert_eq!(group("4:memory:/m\n0::/a/b.service\n", &all), Some("a/b.service".into()));
        assert_eq!(group("0::/\n", &all), Some(PathBuf::new()));
        assert_eq!(group("0::/docker/x/y\n", &part), Some("y".into()));
        assert_eq!(group("0::/other\n", &part), None);
        assert_eq!(group("0::/../up\n", &all), None);
        assert_eq!(group("0::/a (deleted)\n", &all), None);
        assert_eq!(group("4:memory:/m\n", &all), None);
    }
}
