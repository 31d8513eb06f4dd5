//! The v2 tree: it decides membership on both kinds of host, and has kill, events and pressure.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags};

use super::kept::{Group, Kept};
use super::layout::{self, Mount};
use super::parse;
use super::{CgroupError, CpuReading, files};

/// How long a group that is to be removed may take to lose its processes: those that were killed
/// take a moment, longer with gigabytes to give back.
const LEAVING: Duration = Duration::from_secs(2);

/// How long between two tries where the kernel has no event to wait for (v1).
const NO_EVENT: Duration = Duration::from_millis(10);

/// The mounted v2 tree.
#[derive(Debug)]
pub struct Tree {
    mount: Mount,
    own: PathBuf,
    /// Those of this driver, of all hierarchies.
    pub kept: Kept,
}

impl Tree {
    /// The tree at `mount`; `own` is `/proc/self/cgroup`.
    pub fn new(mount: Mount, own: &Path) -> Self {
        Self { mount, own: own.to_path_buf(), kept: Kept::default() }
    }

    /// Where it is mounted.
    pub fn point(&self) -> &Path {
        &self.mount.point
    }

    /// The folder of `group`.
    ///
    /// # Errors
    /// As [`files::beneath`].
    pub fn folder(&self, group: &Path) -> Result<PathBuf, CgroupError> {
        files::beneath(self.point(), group)
    }

    /// Whether the tree has `controller`.
    pub fn has_controller(&self, controller: &str) -> bool {
        let controllers = files::measure(&self.point().join("cgroup.controllers"));
        controllers.is_some_and(|text| parse::has_word(&text, controller))
    }

    /// Whether groups of this tree have the file `name`; `None` where there is none to look at
    /// (the root lacks most files).
    pub fn groups_have(&self, name: &str) -> Option<bool> {
        let own = self.own_group().ok().and_then(|group| self.folder(&group).ok());
        let group = own.or_else(|| files::children(self.point()).ok()?.into_iter().next())?;
        Some(group.join(name).exists())
    }

    /// The group of this process.
    ///
    /// # Errors
    /// The file could not be read, or names no group of this tree.
    pub fn own_group(&self) -> Result<PathBuf, CgroupError> {
        let failed = |error| files::failed("find the own cgroup in", &self.own, error);
        let text = files::read(&self.own).map_err(failed)?;
        layout::own_group(&text, &self.mount).ok_or_else(|| CgroupError {
            hint: Some("start swrun outside of foreign cgroup namespaces"),
            ..failed(std::io::Error::other("it names no group of the mounted cgroup v2 tree"))
        })
    }

    /// Makes `base/monitor` and moves `pid` into it.
    ///
    /// # Errors
    /// The group could not be made, or the process not be moved.
    pub fn lead(&self, base: &Path, pid: u32) -> Result<(), CgroupError> {
        let base = self.make_thawed(base, &["monitor"])?;
        self.move_into(&base.join("monitor"), pid)
    }

    /// Makes `base` with `init` and `app`.
    ///
    /// # Errors
    /// A group could not be made.
    pub fn prepare(&self, base: &Path) -> Result<PathBuf, CgroupError> {
        // What is missing may be made.
        self.kept.close();
        self.make_thawed(base, &["init", "app"])
    }

    /// Makes `base` and groups in it. One that was left frozen would stop the monitor too, and tell nobody why.
    fn make_thawed(&self, base: &Path, groups: &[&str]) -> Result<PathBuf, CgroupError> {
        let base = self.folder(base)?;
        for name in groups {
            files::make_all(self.point(), &base.join(name))?;
        }
        for name in [&[""], groups].concat() {
            let freeze = base.join(name).join("cgroup.freeze");
            files::write_if_there(&freeze, "0", "thaw the cgroup with")?;
        }
        Ok(base)
    }

    /// Makes `group` and moves `pid` into it.
    ///
    /// # Errors
    /// The group could not be made, or the process not be moved.
    pub fn join(&self, group: &Path, pid: u32) -> Result<(), CgroupError> {
        // The root itself is left alone, but a process may go back to it.
        match group == Path::new("/") || group.as_os_str().is_empty() {
            true => self.move_into(self.point(), pid),
            false => self.move_into(&self.folder(group)?, pid),
        }
    }

    fn move_into(&self, folder: &Path, pid: u32) -> Result<(), CgroupError> {
        files::make_all(self.point(), folder)?;
        // To where it is already the kernel would move it too, and wait for all its CPUs, some ten milliseconds.
        let procs = files::read(&folder.join("cgroup.procs")).unwrap_or_default();
        if i32::try_from(pid).is_ok_and(|pid| parse::pids(&procs).contains(&pid)) {
            return Ok(());
        }
        files::write(&folder.join("cgroup.procs"), &pid.to_string(), "move a process with")
    }

    /// An open folder, for `CLONE_INTO_CGROUP`.
    ///
    /// # Errors
    /// It could not be opened.
    pub fn open(folder: &Path) -> Result<OwnedFd, CgroupError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(folder, flags, Mode::empty())
            .map_err(|error| files::failed("open the cgroup", folder, error.into()))
    }

    /// Kills all in `group` and below.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn kill(&self, group: &Path) -> Result<(), CgroupError> {
        let folder = self.folder(group)?;
        match files::write(&folder.join("cgroup.kill"), "1", "kill the cgroup with") {
            Err(error) if files::is_gone(&error.source) && folder.exists() => kill_each(&folder),
            Err(error) if files::is_gone(&error.source) => Ok(()),
            result => result,
        }
    }

    /// Whether a process lives in `group` or below.
    ///
    /// # Errors
    /// It could not be read.
    pub fn is_populated(&self, group: &Path) -> Result<bool, CgroupError> {
        let path = self.folder(group)?.join("cgroup.events");
        let failed = |error| files::failed("read", &path, error);
        match files::read(&path) {
            Ok(text) => populated(&text).ok_or_else(|| failed(garbled())),
            Err(error) if files::is_gone(&error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// The processes in `group` and below.
    ///
    /// # Errors
    /// A group could not be read.
    pub fn processes(&self, group: &Path) -> Result<Vec<i32>, CgroupError> {
        processes(&self.folder(group)?)
    }

    /// `base/app`, or of it the group of instance `id`, to be measured.
    pub fn group<'a>(&'a self, base: &'a Path, id: Option<u32>) -> Group<'a> {
        Group { root: self.point(), base, id }
    }

    /// CPU use of `base/app`; throttling only with the cpu controller. Usage is in every v2 group's
    /// `cpu.stat`, controller or not, dead instances included.
    pub fn cpu(&self, base: &Path) -> CpuReading {
        let keys = ["usage_usec", "throttled_usec"];
        let take = |text: &str| parse::numbers(text, keys);
        let read = self.kept.measure(self.group(base, None), "cpu.stat", take);
        let [usage_us, throttled_us] = read.unwrap_or_default();
        CpuReading { usage_us, throttled_us }
    }

    /// PSI `some avg10` of the memory of instance `id`, in percent.
    pub fn memory_pressure(&self, base: &Path, id: u32) -> Option<f64> {
        self.pressure(self.group(base, Some(id)), "memory.pressure")
    }

    fn pressure(&self, group: Group<'_>, name: &'static str) -> Option<f64> {
        self.kept.measure(group, name, parse::pressure_some_avg10)?
    }

    /// The same of `base/app`, for memory, CPU and I/O.
    pub fn pressures(&self, base: &Path) -> [Option<f64>; 3] {
        let app = self.group(base, None);
        ["memory.pressure", "cpu.pressure", "io.pressure"].map(|name| self.pressure(app, name))
    }

    /// Bytes read and written by `base/app`.
    pub fn io(&self, base: &Path) -> Option<(u64, u64)> {
        self.kept.measure(self.group(base, None), "io.stat", parse::io)?
    }
}

/// The ids among the groups below the folder `app`; empty where it is not there.
///
/// # Errors
/// It could not be read.
pub fn ids_below(app: &Path) -> Result<Vec<u32>, CgroupError> {
    let children = match files::children(app) {
        Err(error) if files::is_gone(&error) => Vec::new(),
        other => other.map_err(|error| files::failed("list the cgroup", app, error))?,
    };
    let id = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    let mut ids: Vec<u32> = children.into_iter().filter_map(id).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Removes the group at `folder` and those below, deepest first, in any hierarchy. Waits for
/// processes that are just leaving.
///
/// # Errors
/// A group is still in use after that.
pub fn remove_all(folder: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + LEAVING;
    for group in files::deepest_first(folder)? {
        loop {
            match std::fs::remove_dir(&group) {
                Ok(()) => break,
                Err(error) if files::is_gone(&error) => break,
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline =>
                {
                    wait_until_empty(&group, deadline)?;
                }
                Err(error) => return Err(still_in_use(&group, error)),
            }
        }
    }
    Ok(())
}

/// Waits until no process lives in the v2 group at `folder` and below, for as long as one that was
/// killed may take to leave.
///
/// # Errors
/// One still does after that.
pub fn await_empty(folder: &Path) -> Result<(), CgroupError> {
    let path = folder.join("cgroup.events");
    wait_until_empty(folder, Instant::now() + LEAVING)?;
    if files::measure(&path).and_then(|text| populated(&text)) == Some(true) {
        let busy = std::io::Error::from_raw_os_error(libc::EBUSY);
        return Err(still_in_use(folder, busy));
    }
    Ok(())
}

fn still_in_use(folder: &Path, error: std::io::Error) -> CgroupError {
    let hint = (error.raw_os_error() == Some(libc::EBUSY)).then_some("processes still live in it");
    CgroupError { hint, ..files::failed("remove the cgroup", folder, error) }
}

/// Waits until no process lives in the group at `folder`, at most until `deadline`: by its
/// `cgroup.events` on v2; v1 has no such event, so there only a moment.
fn wait_until_empty(folder: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let path = folder.join("cgroup.events");
    let failed = |error| files::failed("wait for", &path, error);
    let Ok(events) = File::open(&path) else {
        poll(&mut [], timeout(deadline.min(Instant::now() + NO_EVENT)))
            .map_err(|errno| failed(errno.into()))?;
        return Ok(());
    };
    while Instant::now() < deadline {
        match files::read_again(&events) {
            Ok(text) if populated(&text) == Some(true) => {}
            Err(error) if !files::is_gone(&error) => return Err(failed(error)),
            // Empty, or gone.
            _ => return Ok(()),
        }
        let mut asked = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut asked, timeout(deadline)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    Ok(())
}

/// The time until `deadline`, rounded up to the next millisecond.
fn timeout(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
    PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX))
}

/// For kernels before 5.14, which lack `cgroup.kill`: SIGKILL to each, frozen if possible so that
/// none can fork on. A frozen process of v2 can be killed.
fn kill_each(folder: &Path) -> Result<(), CgroupError> {
    let freeze = folder.join("cgroup.freeze");
    files::write_if_there(&freeze, "1", "freeze the cgroup with")?;
    let killed = kill_until_none_is_new(folder);
    files::write_if_there(&freeze, "0", "thaw the cgroup with")?;
    killed
}

fn kill_until_none_is_new(folder: &Path) -> Result<(), CgroupError> {
    // Those that were killed may stay listed for a moment; those that they forked are new.
    let mut killed = BTreeSet::new();
    loop {
        let before = killed.len();
        for pid in processes(folder)? {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => killed.insert(pid),
                Err(errno) => {
                    return Err(files::failed("kill the processes of", folder, errno.into()));
                }
            };
        }
        if killed.len() == before {
            return Ok(());
        }
    }
}

fn processes(folder: &Path) -> Result<Vec<i32>, CgroupError> {
    let mut found = BTreeSet::new();
    for group in files::deepest_first(folder)? {
        let path = group.join("cgroup.procs");
        match files::read(&path) {
            Ok(text) => found.extend(parse::pids(&text)),
            Err(error) if files::is_gone(&error) => {}
            Err(error) => return Err(files::failed("read", &path, error)),
        }
    }
    Ok(found.into_iter().collect())
}

fn populated(events: &str) -> Option<bool> {
    parse::number_of(events, "populated").map(|count| count > 0)
}

fn garbled() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "it lacks the line \"populated\"")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn instances_are_the_numbers_among_the_groups() {
        let app = tempfile::tempdir().expect("a folder");
        for name in ["10", "2", "x", "4294967296"] {
            std::fs::create_dir(app.path().join(name)).expect("a folder");
        }
        std::fs::write(app.path().join("7"), "").expect("a file");
        assert_eq!(ids_below(app.path()).expect("a list"), [2, 10]);
        assert_eq!(ids_below(&app.path().join("none")).expect("a list"), [] as [u32; 0]);
    }

    #[test]
    fn an_unreadable_state_is_an_error_and_a_missing_group_is_empty() {
        let root = tempfile::tempdir().expect("a folder");
        let mount = Mount { point: root.path().to_path_buf(), root: "/".into() };
        let tree = Tree::new(mount, Path::new("/none"));
        let group = Path::new("a");
        assert!(!tree.is_populated(group).expect("a missing group is empty"));
        std::fs::create_dir(root.path().join("a")).expect("a folder");
        std::fs::write(root.path().join("a/cgroup.events"), "frozen 0\n").expect("a file");
        assert!(tree.is_populated(group).is_err());
        std::fs::write(root.path().join("a/cgroup.events"), "populated 1\n").expect("a file");
        assert!(tree.is_populated(group).expect("it is"));
        assert!(tree.kill(Path::new("/")).is_err(), "the root would be the whole host");
    }

    /// What kernels before 5.14 get, on the real tree.
    #[test]
    fn a_group_without_kill_file_is_killed_process_by_process() {
        let Some(mount) = mounted_tree().filter(|_| nix::unistd::geteuid().is_root()) else {
            println!("skipped: needs root and a mounted cgroup v2 tree");
            return;
        };
        let folder = mount.point.join(format!("swrun-unit-{}", std::process::id()));
        files::make(&folder).expect("a group");
        let script = "echo 0 >\"$1/cgroup.procs\" && { sleep 900 & sleep 900 & echo; wait; }";
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut ready = [0];
        let output = shell.stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(output, &mut ready).expect("its children are there");
        assert_eq!(processes(&folder).expect("a list").len(), 3);
        kill_each(&folder).expect("they can be killed");
        remove_all(&folder).expect("the group is empty soon");
        assert!(!shell.wait().expect("its end").success());
        assert!(!folder.exists());
    }

    fn mounted_tree() -> Option<Mount> {
        layout::Layout::read(Path::new("/proc/self/mountinfo")).ok()?.unified
    }
}
