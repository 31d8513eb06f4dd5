//! The driver for hybrid hosts: limits and counters from the v1 hierarchies of memory, cpu and
//! pids; membership, kill, pressure and CPU use from the v2 tree. The same path in each.
//!
//! Only the app joins v1 groups, and only those with a limit: each move costs time. Monitor
//! and init stay in the v1 groups that the monitor was started in, which swrun does not limit; so `BASE/monitor` and `BASE/init` exist in the v2 tree alone.
//! Source of the v1 files: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and pids.rst,
//! Documentation/scheduler/sched-bwc.rst.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::kept::Group;
use super::layout::Layout;
use super::parse;
use super::tree::{self, Tree};
use super::{
    CgroupError, CpuReading, Driver, Entry, MemoryKinds, MemoryReading, Watch, files, v1, watch,
};
use crate::model::Limits;

/// See the module.
#[derive(Debug)]
pub struct Hybrid {
    tree: Tree,
    memory: PathBuf,
    cpu: Option<PathBuf>,
    pids: Option<PathBuf>,
}

impl Hybrid {
    /// The driver for `tree` and the v1 hierarchies of `layout`, of which `memory` is one.
    pub fn new(tree: Tree, memory: PathBuf, layout: &Layout) -> Self {
        Self { tree, memory, cpu: layout.folder_of("cpu"), pids: layout.folder_of("pids") }
    }

    fn hierarchies(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.memory), self.cpu.as_ref(), self.pids.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    /// The folder of instance `id` in the hierarchy at `root`.
    fn instance(root: &Path, base: &Path, id: u32) -> Result<PathBuf, CgroupError> {
        Ok(files::beneath(root, base)?.join("app").join(id.to_string()))
    }

    fn app(root: &Path, base: &Path) -> Result<PathBuf, CgroupError> {
        Ok(files::beneath(root, base)?.join("app"))
    }

    /// Instance `id` in the hierarchy of memory, to be measured.
    fn memory_group<'a>(&'a self, base: &'a Path, id: u32) -> Group<'a> {
        Group { root: &self.memory, base, id: Some(id) }
    }

    fn limit_instance(
        &self,
        base: &Path,
        group: &Path,
        memory: &Path,
        limits: &Limits,
    ) -> Result<Entry, CgroupError> {
        v1::limit_memory(memory, limits.memory_max)?;
        let mut join = vec![open_tasks(memory)?];
        let mut views = vec![(memory.to_path_buf(), PathBuf::from("/sys/fs/cgroup/memory"))];
        if let Some(root) = &self.pids {
            join.push(open_tasks(&Self::app(root, base)?)?);
        }
        if let (Some(root), Some(_)) = (&self.cpu, limits.cpu_percent) {
            let app = Self::app(root, base)?;
            join.push(open_tasks(&app)?);
            // Where cpu is mounted with cpuacct, `cpu` is a link to `cpu,cpuacct`: both names.
            let mounted = root.file_name().unwrap_or("cpu".as_ref());
            views.push((app.clone(), Path::new("/sys/fs/cgroup").join(mounted)));
            if mounted != "cpu" {
                views.push((app, PathBuf::from("/sys/fs/cgroup/cpu")));
            }
        }
        Ok(Entry {
            group: Tree::open(group)?,
            init_group: Tree::open(&self.tree.folder(base)?.join("init"))?,
            join,
            views,
        })
    }
}

/// `tasks` of `folder`, for the process of one thread that is to join it. Not `cgroup.procs`: to move
/// a whole process the kernel waits until no process of the host forks or exits, 5 to 15 ms after a
/// quiet spell; a thread that moves itself needs no such wait (cgroup_procs_write_start() in Linux,
/// kernel/cgroup/cgroup.c, from 5.17 on; an older kernel waits here too).
fn open_tasks(folder: &Path) -> Result<OwnedFd, CgroupError> {
    let path = folder.join("tasks");
    let file = OpenOptions::new().write(true).open(&path);
    file.map(OwnedFd::from).map_err(|error| files::failed("open", &path, error))
}

impl Driver for Hybrid {
    fn kind(&self) -> &'static str {
        "hybrid"
    }

    fn degraded(&self) -> Vec<String> {
        let mut weaker = vec![
            "memory is limited by cgroup v1: at a breach the kernel kills one process of an instance, and swrun the rest a moment later".to_string(),
            "cgroup v1 does not tell which kernel memory can be reclaimed: the soft ceiling counts anonymous and shared memory only".to_string(),
        ];
        if !v1::has_swap_accounting(&self.memory) {
            weaker.push("swap is not accounted (boot with \"swapaccount=1\"): an app may swap before it meets its ceiling".to_string());
        }
        for (root, name, loss) in [
            (&self.cpu, "cpu", "CPU time is not limited"),
            (&self.pids, "pids", "processes are not limited"),
        ] {
            if root.is_none() {
                weaker.push(format!("the v1 controller \"{name}\" is not mounted: {loss}"));
            }
        }
        if self.tree.groups_have("cgroup.kill") == Some(false) {
            weaker.push("cgroups have no \"cgroup.kill\": an instance is killed process by process (Linux 5.14 has it)".to_string());
        }
        weaker
    }

    fn tree(&self) -> &Path {
        self.tree.point()
    }

    fn own_group(&self) -> Result<PathBuf, CgroupError> {
        self.tree.own_group()
    }

    fn lead(&self, base: &Path, pid: u32) -> Result<(), CgroupError> {
        self.tree.lead(base, pid)
    }

    fn prepare(&self, base: &Path, limits: &Limits) -> Result<(), CgroupError> {
        self.tree.prepare(base)?;
        files::make_all(&self.memory, &Self::app(&self.memory, base)?)?;
        if let Some(root) = &self.pids {
            let app = Self::app(root, base)?;
            files::make_all(root, &app)?;
            v1::limit_pids(&app, limits.pids)?;
        }
        if let Some(root) = &self.cpu {
            let app = Self::app(root, base)?;
            if limits.cpu_percent.is_some() {
                files::make_all(root, &app)?;
            }
            if app.exists() {
                v1::limit_cpu(&app, limits.cpu_percent)?;
            }
        }
        Ok(())
    }

    fn join(&self, group: &Path, pid: u32) -> Result<(), CgroupError> {
        self.tree.join(group, pid)
    }

    fn create_instance(&self, base: &Path, id: u32, limits: &Limits) -> Result<Entry, CgroupError> {
        let group = Self::instance(self.tree.point(), base, id)?;
        let memory = Self::instance(&self.memory, base, id)?;
        files::make(&group)?;
        let entry =
            files::make(&memory).and_then(|()| self.limit_instance(base, &group, &memory, limits));
        if entry.is_err() {
            // Best effort: the error that counts is the first one.
            let _ = tree::remove_all(&memory);
            let _ = tree::remove_all(&group);
        }
        entry
    }

    fn watch(&self, base: &Path, id: u32, limits: &Limits) -> Result<Box<dyn Watch>, CgroupError> {
        let memory = Self::instance(&self.memory, base, id)?;
        Ok(Box::new(watch::Legacy::open(&memory, limits.memory_high)?))
    }

    fn kill(&self, group: &Path) -> Result<(), CgroupError> {
        self.tree.kill(group)
    }

    fn is_populated(&self, group: &Path) -> Result<bool, CgroupError> {
        self.tree.is_populated(group)
    }

    fn remove(&self, group: &Path) -> Result<(), CgroupError> {
        self.tree.kept.close();
        let folder = self.tree.folder(group)?;
        // The v2 tree alone has an event for "empty".
        if folder.exists() {
            tree::await_empty(&folder)?;
        }
        // The v2 group last: as long as it is there, it shows what is left to do.
        for root in self.hierarchies() {
            tree::remove_all(&files::beneath(root, group)?)?;
        }
        tree::remove_all(&folder)
    }

    fn instances(&self, base: &Path) -> Result<Vec<u32>, CgroupError> {
        let mut ids = tree::ids_below(&self.tree.folder(base)?.join("app"))?;
        ids.extend(tree::ids_below(&Self::app(&self.memory, base)?)?);
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn processes(&self, group: &Path) -> Result<Vec<i32>, CgroupError> {
        self.tree.processes(group)
    }

    fn memory_current(&self, base: &Path, id: u32) -> Option<u64> {
        self.tree.kept.number(self.memory_group(base, id), "memory.usage_in_bytes")
    }

    fn memory(&self, base: &Path, id: u32) -> MemoryReading {
        let (kept, group) = (&self.tree.kept, self.memory_group(base, id));
        // Kernel memory is one number here, mostly of slab that can be reclaimed: left out.
        let keys = ["total_rss", "total_shmem", "total_swap"];
        let stat = kept.measure(group, "memory.stat", |text| parse::numbers(text, keys));
        let [anon, shmem, swap] = stat.unwrap_or_default();
        MemoryReading {
            current: kept.number(group, "memory.usage_in_bytes"),
            anon,
            unreclaimable: anon.zip(shmem).and_then(|(anon, shmem)| anon.checked_add(shmem)),
            max: kept.measure(group, "memory.limit_in_bytes", parse::legacy_limit).flatten(),
            swap,
            pressure_avg10: self.tree.memory_pressure(base, id),
            ..self.last_memory(base, id)
        }
    }

    fn memory_kinds(&self, base: &Path, id: u32) -> MemoryKinds {
        let (kept, group) = (&self.tree.kept, self.memory_group(base, id));
        let keys = ["total_rss", "total_shmem", "total_cache"];
        let stat = kept.measure(group, "memory.stat", |text| parse::numbers(text, keys));
        let [anon, shmem, cache] = stat.unwrap_or_default();
        MemoryKinds {
            current: kept.number(group, "memory.usage_in_bytes"),
            anon,
            file: cache.zip(shmem).map(|(cache, shmem)| cache.saturating_sub(shmem)),
            shmem,
            kernel: kept.number(group, "memory.kmem.usage_in_bytes"),
        }
    }

    fn pressure(&self, base: &Path) -> [Option<f64>; 3] {
        self.tree.pressures(base)
    }

    fn io(&self, base: &Path) -> Option<(u64, u64)> {
        self.tree.io(base)
    }

    fn last_memory(&self, base: &Path, id: u32) -> MemoryReading {
        let (kept, group) = (&self.tree.kept, self.memory_group(base, id));
        let kills = |text: &str| parse::number_of(text, "oom_kill");
        MemoryReading {
            peak: kept.number(group, "memory.max_usage_in_bytes"),
            oom_kills: kept.measure(group, "memory.oom_control", kills).flatten(),
            ..MemoryReading::default()
        }
    }

    fn cpu(&self, base: &Path) -> CpuReading {
        let group = self.cpu.as_ref().map(|root| Group { root, base, id: None });
        let throttled = |text: &str| parse::number_of(text, "throttled_time");
        // In nanoseconds; without a limit there is no group and nothing is held back, unmeasured.
        let throttled =
            group.and_then(|group| self.tree.kept.measure(group, "cpu.stat", throttled));
        CpuReading { throttled_us: throttled.flatten().map(|ns| ns / 1000), ..self.tree.cpu(base) }
    }

    fn pids(&self, base: &Path) -> Option<u64> {
        let group = Group { root: self.pids.as_ref()?, base, id: None };
        self.tree.kept.number(group, "pids.current")
    }
}
