//! The cgroups of an environment, on unified (v2) and on hybrid hosts through one [`Driver`].
//!
//! Groups are named by their path below the hierarchy's root, the same in every hierarchy. Of one
//! environment: `BASE/monitor` and `BASE/init` outside the limits, `BASE/app` with cpu and pids
//! limits, and a fresh `BASE/app/ID` for each instance with the memory limits: peak, cache and tmpfs
//! of a dead instance never count against the next. A measurement that failed is `None`, never 0.
#![forbid(unsafe_code)]

mod files;
#[cfg(test)]
mod fixtures;
mod hybrid;
mod kept;
mod layout;
mod parse;
mod tree;
mod unified;
mod v1;
mod watch;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::model::Limits;

/// The driver for the cgroups that are mounted where this process is.
///
/// # Errors
/// Those of [`detect`].
pub fn detect_own() -> Result<Box<dyn Driver>, CgroupError> {
    detect(Path::new("/proc/self/mountinfo"), Path::new("/proc/self/cgroup"))
}

/// The driver for the cgroups that are mounted: `mountinfo` is `/proc/self/mountinfo`, `own` is
/// `/proc/self/cgroup`, both parameters so that a test can bring its own tree.
///
/// # Errors
/// A file could not be read, or no hierarchy can limit memory; the hint says what to do.
pub fn detect(mountinfo: &Path, own: &Path) -> Result<Box<dyn Driver>, CgroupError> {
    let layout = layout::Layout::read(mountinfo)?;
    let lacks = |reason: &'static str, hint| CgroupError {
        doing: "find the cgroups in",
        path: mountinfo.to_path_buf(),
        source: std::io::Error::other(reason),
        hint: Some(hint),
    };
    let Some(mount) = layout.unified.clone() else {
        return Err(lacks(
            "no cgroup v2 tree is mounted",
            "mount it: \"mkdir -p /sys/fs/cgroup/unified; mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified\"",
        ));
    };
    let tree = tree::Tree::new(mount, own);
    if let Some(memory) = layout.folder_of("memory") {
        return Ok(Box::new(hybrid::Hybrid::new(tree, memory, &layout)));
    }
    if !tree.has_controller("memory") {
        return Err(lacks(
            "no hierarchy has the memory controller",
            "boot without \"cgroup_disable=memory\"; in a container, hand the memory controller in",
        ));
    }
    Ok(Box::new(unified::Unified::new(tree)))
}

/// What the environments need of a host's cgroups.
pub trait Driver: std::fmt::Debug {
    /// `unified` or `hybrid`.
    fn kind(&self) -> &'static str;

    /// What is weaker here than on a unified host with all controllers, a sentence each.
    fn degraded(&self) -> Vec<String>;

    /// Where the tree that decides membership is mounted.
    fn tree(&self) -> &Path;

    /// The folder of `group` in the tree that decides membership.
    fn folder(&self, group: &Path) -> PathBuf {
        self.tree().join(group.strip_prefix("/").unwrap_or(group))
    }

    /// The group of this process, as the tree that decides membership names it
    /// (systemd's unit, for a monitor that systemd started).
    ///
    /// # Errors
    /// `/proc/self/cgroup` could not be read or lacks the tree.
    fn own_group(&self) -> Result<PathBuf, CgroupError>;

    /// Makes `base/monitor` and moves `pid` into it, unless it is there. Since the kernel waits for all its CPUs before
    /// a process moves, some 10 ms, this is done beside something else where that can be.
    ///
    /// # Errors
    /// The group could not be made or joined.
    fn lead(&self, base: &Path, pid: u32) -> Result<(), CgroupError>;

    /// Makes `base` a group whose children can be limited (parents are made and given controllers
    /// where they lack them), and in it `init` and `app` with the environment's limits.
    /// Safe to repeat; limits are set anew. A process that is in `base` itself is to [`Driver::lead`] first: a group
    /// with processes in it gets no controllers.
    ///
    /// # Errors
    /// A group could not be made or limited.
    fn prepare(&self, base: &Path, limits: &Limits) -> Result<(), CgroupError>;

    /// Makes `group` in the tree that decides membership, and moves `pid` into it.
    ///
    /// # Errors
    /// The group could not be made or joined.
    fn join(&self, group: &Path, pid: u32) -> Result<(), CgroupError>;

    /// Gives `group` the least share of the CPUs, where groups share them: nice(2) only counts among the
    /// processes of one group.
    ///
    /// # Errors
    /// The kernel refused it.
    fn yield_cpu(&self, group: &Path) -> Result<(), CgroupError> {
        let weight = self.folder(group).join("cpu.weight");
        files::write_if_there(&weight, "1", "lower the share of the CPUs with")
    }

    /// Makes the group of instance `id` with its memory limits (ceiling, group kill, no swap, soft
    /// ceiling), and hands out all that a start into it needs.
    ///
    /// # Errors
    /// It could not be made or limited.
    fn create_instance(&self, base: &Path, id: u32, limits: &Limits) -> Result<Entry, CgroupError>;

    /// Watches instance `id` for a breach: woken by the kernel, never by polling.
    ///
    /// # Errors
    /// The kernel's event could not be asked for.
    fn watch(&self, base: &Path, id: u32, limits: &Limits) -> Result<Box<dyn Watch>, CgroupError>;

    /// Kills every process of `group` and below at once (`cgroup.kill`).
    ///
    /// # Errors
    /// The kernel refused it; a group that is not there is no error.
    fn kill(&self, group: &Path) -> Result<(), CgroupError>;

    /// Whether a process lives in `group` or below; `false` where the group is not there.
    ///
    /// # Errors
    /// It could not be read.
    fn is_populated(&self, group: &Path) -> Result<bool, CgroupError>;

    /// Removes `group` and all groups below it in every hierarchy, deepest first; a group that is
    /// not there is no error.
    ///
    /// # Errors
    /// A group is still in use.
    fn remove(&self, group: &Path) -> Result<(), CgroupError>;

    /// The groups of the instances that exist below `base`, by id.
    ///
    /// # Errors
    /// The folder could not be read.
    fn instances(&self, base: &Path) -> Result<Vec<u32>, CgroupError>;

    /// The pids of the processes in `group` and below, as the host sees them.
    ///
    /// # Errors
    /// The group could not be read.
    fn processes(&self, group: &Path) -> Result<Vec<i32>, CgroupError>;

    /// All that is charged to instance `id`, in bytes: one small file, for a look every few seconds.
    fn memory_current(&self, base: &Path, id: u32) -> Option<u64>;

    /// The memory of instance `id`.
    fn memory(&self, base: &Path, id: u32) -> MemoryReading;

    /// The memory of instance `id` by kind: two files, for the history.
    fn memory_kinds(&self, base: &Path, id: u32) -> MemoryKinds;

    /// PSI `some avg10` of `base/app`, in percent: stalls for want of memory, of CPU, of I/O.
    fn pressure(&self, base: &Path) -> [Option<f64>; 3];

    /// Bytes that `base/app` read from and wrote to disks, where that is counted.
    fn io(&self, base: &Path) -> Option<(u64, u64)>;

    /// Of a dead instance: `peak` and `oom_kills` alone, since a restart waits for it.
    fn last_memory(&self, base: &Path, id: u32) -> MemoryReading;

    /// The CPU use of `base/app`.
    fn cpu(&self, base: &Path) -> CpuReading;

    /// Processes and threads in `base/app`.
    fn pids(&self, base: &Path) -> Option<u64>;
}

/// What a start needs to get a process into an instance's group.
#[derive(Debug)]
pub struct Entry {
    /// The group's folder in the v2 tree, for `CLONE_INTO_CGROUP`.
    pub group: OwnedFd,
    /// The folder of `BASE/init` in the v2 tree, for the instance's init.
    pub init_group: OwnedFd,
    /// v1 only: `tasks` files, open for writing, that the app's process of one thread writes "0" to.
    pub join: Vec<OwnedFd>,
    /// What the app sees of its own limits: folder on the host, and where it belongs in the cage
    /// (below `/sys/fs/cgroup`; `/sys/fs/cgroup` itself on a unified host).
    pub views: Vec<(PathBuf, PathBuf)>,
}

/// A watched instance.
pub trait Watch: std::fmt::Debug {
    /// The descriptors to poll, each with the poll events that mean "look": `POLLPRI` on v2,
    /// `POLLIN` on a v1 eventfd.
    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, nix::poll::PollFlags)>;

    /// Reads (and so re-arms) the counters after a wake-up, or at a death to decide its cause.
    fn look(&mut self) -> Counters;
}

/// The kernel's memory events of an instance since its group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// The ceiling was met and memory could not be reclaimed (v2 `oom`, v1 the oom eventfd).
    pub oom: Option<u64>,
    /// Processes killed for it.
    pub oom_kill: Option<u64>,
    /// v2: times the whole group was killed.
    pub oom_group_kill: Option<u64>,
    /// The soft ceiling was met (v2 `high`, v1 the threshold): page cache counts too, so this
    /// decides nothing by itself.
    pub high: Option<u64>,
}

impl Counters {
    /// Whether the ceiling was breached.
    #[must_use]
    pub fn is_breach(&self) -> bool {
        [self.oom, self.oom_kill, self.oom_group_kill]
            .iter()
            .any(|count| count.is_some_and(|n| n > 0))
    }
}

/// Memory of an instance in bytes; what could not be read is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MemoryReading {
    /// All that is charged.
    pub current: Option<u64>,
    /// Anonymous memory.
    pub anon: Option<u64>,
    /// What cannot be reclaimed: anon, shmem and (v2) unreclaimable kernel memory.
    pub unreclaimable: Option<u64>,
    /// The ceiling as the kernel has it.
    pub max: Option<u64>,
    /// The most there was.
    pub peak: Option<u64>,
    /// Swap in use.
    pub swap: Option<u64>,
    /// Processes the kernel killed at the ceiling.
    pub oom_kills: Option<u64>,
    /// PSI `some avg10` of the group, in percent.
    pub pressure_avg10: Option<f64>,
}

/// Memory of an instance by kind, in bytes; what could not be read is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryKinds {
    /// All that is charged.
    pub current: Option<u64>,
    /// Anonymous memory.
    pub anon: Option<u64>,
    /// Page cache, without `shmem`.
    pub file: Option<u64>,
    /// Shared memory and tmpfs.
    pub shmem: Option<u64>,
    /// The kernel's own for it.
    pub kernel: Option<u64>,
}

impl MemoryKinds {
    /// Of several instances together; a kind that is unknown of one of them, or of none, is unknown.
    #[must_use]
    pub fn total(all: &[Self]) -> Self {
        let sum = |kind: fn(&Self) -> Option<u64>| -> Option<u64> {
            if all.is_empty() { None } else { all.iter().map(kind).sum() }
        };
        Self {
            current: sum(|one| one.current),
            anon: sum(|one| one.anon),
            file: sum(|one| one.file),
            shmem: sum(|one| one.shmem),
            kernel: sum(|one| one.kernel),
        }
    }
}

/// CPU use of an environment in microseconds; what could not be read is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuReading {
    /// Used.
    pub usage_us: Option<u64>,
    /// Held back by the limit.
    pub throttled_us: Option<u64>,
}

/// What was being done to which file, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} \"{}\": {source}{}", .path.display(), .hint.map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct CgroupError {
    /// The step, as `create the cgroup`.
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: std::io::Error,
    /// What to do, where the cause is usual.
    pub hint: Option<&'static str>,
}
