//! The driver for unified hosts: limits, counters and membership on one v2 tree.
//!
//! Source of every file used: Linux, Documentation/admin-guide/cgroup-v2.rst.

use std::path::{Path, PathBuf};

use super::parse;
use super::tree::{self, Tree};
use super::v1::CPU_PERIOD;
use super::{
    CgroupError, CpuReading, Driver, Entry, MemoryKinds, MemoryReading, Watch, files, watch,
};
use crate::model::Limits;

/// The controllers that the groups get where the host has them; memory is a must.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// What cannot be reclaimed and every kernel counts: with swap off, these pages only go when the
/// app gives them up (tmpfs and shared memory are `shmem`).
const UNRECLAIMABLE: [&str; 2] = ["anon", "shmem"];

/// The same of kernel memory, of which each kernel counts another selection. Not `kernel`, which
/// has the reclaimable slab in it, nor `slab_reclaimable` (inodes, dentries: cache).
const UNRECLAIMABLE_KERNEL: [&str; 7] = [
    "slab_unreclaimable",
    "kernel_stack",
    "pagetables",
    "sec_pagetables",
    "percpu",
    "sock",
    "vmalloc",
];

/// See the module.
#[derive(Debug)]
pub struct Unified {
    tree: Tree,
}

impl Unified {
    /// The driver for `tree`.
    pub fn new(tree: Tree) -> Self {
        Self { tree }
    }

    fn instance(&self, base: &Path, id: u32) -> Result<PathBuf, CgroupError> {
        Ok(self.tree.folder(base)?.join("app").join(id.to_string()))
    }

    /// Gives every group from the root down to `app` the controllers for its children. A group
    /// above that refuses is no error as long as they arrive: on a systemd host the part above the
    /// delegated unit is not ours, and has them already.
    fn enable_controllers(&self, app: &Path) -> Result<(), CgroupError> {
        let mut refused = None;
        for folder in files::line(self.tree.point(), app) {
            for controller in missing_controllers(&folder) {
                let enabled = enable(&folder, controller);
                if controller == "memory" && refused.is_none() {
                    refused = enabled.err();
                }
            }
        }
        let control = app.join("cgroup.subtree_control");
        let arrived = files::measure(&control).unwrap_or_default();
        if parse::has_word(&arrived, "memory") {
            return Ok(());
        }
        Err(refused.unwrap_or_else(|| CgroupError {
            hint: Some("a group above does not hand the memory controller down; with systemd the unit needs Delegate=yes"),
            ..files::failed("limit memory below", &control, std::io::Error::other("the memory controller is not available"))
        }))
    }
}

/// What `folder` could hand down and does not.
fn missing_controllers(folder: &Path) -> impl Iterator<Item = &'static str> + use<> {
    let available = files::measure(&folder.join("cgroup.controllers")).unwrap_or_default();
    let enabled = files::measure(&folder.join("cgroup.subtree_control")).unwrap_or_default();
    CONTROLLERS
        .into_iter()
        .filter(move |name| parse::has_word(&available, name) && !parse::has_word(&enabled, name))
}

fn enable(folder: &Path, controller: &str) -> Result<(), CgroupError> {
    let control = folder.join("cgroup.subtree_control");
    // One at a time: the kernel takes a list whole or not at all.
    files::write(&control, &format!("+{controller}"), "enable a controller with").map_err(|error| {
        let is_busy = error.source.raw_os_error() == Some(libc::EBUSY);
        let hint = "processes live in this group itself, and only a group without children may hold some: move them into one below, or start swrun elsewhere";
        CgroupError { hint: is_busy.then_some(hint), ..error }
    })
}

fn cpu_max(limits: &Limits) -> String {
    match limits.cpu_percent {
        Some(percent) => format!("{} {CPU_PERIOD}", u64::from(percent) * 1000),
        None => format!("max {CPU_PERIOD}"),
    }
}

impl Driver for Unified {
    fn kind(&self) -> &'static str {
        "unified"
    }

    fn degraded(&self) -> Vec<String> {
        let mut weaker = Vec::new();
        for (controller, loss) in
            [("pids", "processes are not limited"), ("cpu", "CPU time is not limited")]
        {
            if !self.tree.has_controller(controller) {
                weaker.push(format!("the controller \"{controller}\" is not available: {loss}"));
            }
        }
        for (file, loss) in [
            ("cgroup.kill", "an instance is killed process by process (Linux 5.14 has it)"),
            ("memory.peak", "the most memory an instance used is unknown (Linux 5.19 has it)"),
            ("memory.pressure", "memory pressure is unknown (boot with \"psi=1\")"),
        ] {
            if self.tree.groups_have(file) == Some(false) {
                weaker.push(format!("cgroups have no \"{file}\": {loss}"));
            }
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
        let base_folder = self.tree.prepare(base)?;
        let app = base_folder.join("app");
        self.enable_controllers(&app)?;
        files::write_if_there(
            &app.join("pids.max"),
            &limits.pids.to_string(),
            "limit processes with",
        )?;
        let cpu = cpu_max(limits);
        files::write_if_there(&app.join("cpu.max"), &cpu, "limit CPU time with")?;
        for id in self.instances(base)? {
            let path = self.instance(base, id)?.join("cpu.max");
            files::write_if_there(&path, &cpu, "limit CPU time with")?;
        }
        Ok(())
    }

    fn join(&self, group: &Path, pid: u32) -> Result<(), CgroupError> {
        self.tree.join(group, pid)
    }

    fn create_instance(&self, base: &Path, id: u32, limits: &Limits) -> Result<Entry, CgroupError> {
        let folder = self.instance(base, id)?;
        files::make(&folder)?;
        let entry = self.limit_instance(base, &folder, limits);
        if entry.is_err() {
            // Best effort: the error that counts is the first one.
            let _ = tree::remove_all(&folder);
        }
        entry
    }

    fn watch(&self, base: &Path, id: u32, _: &Limits) -> Result<Box<dyn Watch>, CgroupError> {
        Ok(Box::new(watch::Unified::open(&self.instance(base, id)?)?))
    }

    fn kill(&self, group: &Path) -> Result<(), CgroupError> {
        self.tree.kill(group)
    }

    fn is_populated(&self, group: &Path) -> Result<bool, CgroupError> {
        self.tree.is_populated(group)
    }

    fn remove(&self, group: &Path) -> Result<(), CgroupError> {
        self.tree.kept.close();
        tree::remove_all(&self.tree.folder(group)?)
    }

    fn instances(&self, base: &Path) -> Result<Vec<u32>, CgroupError> {
        tree::ids_below(&self.tree.folder(base)?.join("app"))
    }

    fn processes(&self, group: &Path) -> Result<Vec<i32>, CgroupError> {
        self.tree.processes(group)
    }

    fn memory_current(&self, base: &Path, id: u32) -> Option<u64> {
        self.tree.kept.number(self.tree.group(base, Some(id)), "memory.current")
    }

    fn memory(&self, base: &Path, id: u32) -> MemoryReading {
        let (kept, group) = (&self.tree.kept, self.tree.group(base, Some(id)));
        let take = |text: &str| {
            let all = parse::sum(text, &UNRECLAIMABLE, &UNRECLAIMABLE_KERNEL);
            (parse::number_of(text, "anon"), all)
        };
        let (anon, unreclaimable) = kept.measure(group, "memory.stat", take).unwrap_or_default();
        MemoryReading {
            current: kept.number(group, "memory.current"),
            anon,
            unreclaimable,
            max: kept.number(group, "memory.max"),
            swap: kept.number(group, "memory.swap.current"),
            pressure_avg10: self.tree.memory_pressure(base, id),
            ..self.last_memory(base, id)
        }
    }

    fn memory_kinds(&self, base: &Path, id: u32) -> MemoryKinds {
        let (kept, group) = (&self.tree.kept, self.tree.group(base, Some(id)));
        let take = |text: &str| {
            let [anon, file, shmem, kernel] =
                parse::numbers(text, ["anon", "file", "shmem", "kernel"]);
            // One number from Linux 5.18 on, its parts before.
            let parts = || parse::sum(text, &["slab"], &UNRECLAIMABLE_KERNEL[1..]);
            MemoryKinds {
                current: None,
                anon,
                // The kernel counts shared memory here, too.
                file: file.zip(shmem).map(|(file, shmem)| file.saturating_sub(shmem)),
                shmem,
                kernel: kernel.or_else(parts),
            }
        };
        let kinds = kept.measure(group, "memory.stat", take).unwrap_or_default();
        MemoryKinds { current: kept.number(group, "memory.current"), ..kinds }
    }

    fn pressure(&self, base: &Path) -> [Option<f64>; 3] {
        self.tree.pressures(base)
    }

    fn io(&self, base: &Path) -> Option<(u64, u64)> {
        self.tree.io(base)
    }

    fn last_memory(&self, base: &Path, id: u32) -> MemoryReading {
        let (kept, group) = (&self.tree.kept, self.tree.group(base, Some(id)));
        let kills = |text: &str| parse::number_of(text, "oom_kill");
        MemoryReading {
            peak: kept.number(group, "memory.peak"),
            oom_kills: kept.measure(group, "memory.events", kills).flatten(),
            ..MemoryReading::default()
        }
    }

    fn cpu(&self, base: &Path) -> CpuReading {
        self.tree.cpu(base)
    }

    fn pids(&self, base: &Path) -> Option<u64> {
        self.tree.kept.number(self.tree.group(base, None), "pids.current")
    }
}

impl Unified {
    fn limit_instance(
        &self,
        base: &Path,
        folder: &Path,
        limits: &Limits,
    ) -> Result<Entry, CgroupError> {
        // Before the ceiling: an instance dies as a whole, and never swaps its way past it.
        files::write(&folder.join("memory.oom.group"), "1", "make the instance die whole with")?;
        files::write_if_there(
            &folder.join("memory.swap.max"),
            "0",
            "keep the instance out of swap with",
        )?;
        files::write_if_there(
            &folder.join("memory.zswap.max"),
            "0",
            "keep the instance out of swap with",
        )?;
        if let Some(high) = limits.memory_high {
            files::write(
                &folder.join("memory.high"),
                &high.to_string(),
                "set the soft ceiling with",
            )?;
        }
        files::write(
            &folder.join("memory.max"),
            &limits.memory_max.to_string(),
            "set the ceiling with",
        )?;
        // For the app's own eyes: of its view this group is the top, and "app" is above it.
        files::write_if_there(&folder.join("cpu.max"), &cpu_max(limits), "limit CPU time with")?;
        Ok(Entry {
            group: Tree::open(folder)?,
            init_group: Tree::open(&self.tree.folder(base)?.join("init"))?,
            join: Vec::new(),
            views: vec![(folder.to_path_buf(), PathBuf::from("/sys/fs/cgroup"))],
        })
    }
}
