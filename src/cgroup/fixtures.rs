//! Both drivers against trees of plain files: what they read, and what they make of files that are
//! missing or garbled. What the kernel does with real groups is in `tests/cgroup.rs`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{CgroupError, CpuReading, Driver, MemoryReading, detect};
use crate::model::Limits;

const BASE: &str = "swrun/prod";

fn limits() -> Limits {
    Limits {
        memory_max: 64 << 20,
        memory_high: None,
        cpu_percent: Some(50),
        pids: 32,
        open_files: 1024,
    }
}

/// A host of plain files.
struct Host {
    folder: TempDir,
}

impl Host {
    /// One whose hierarchies are `mounts`: name and the rest of the mountinfo line.
    fn new(mounts: &[(&str, &str)]) -> Self {
        let host = Self { folder: tempfile::tempdir().expect("a folder") };
        let line = |(name, rest): &(&str, &str)| {
            std::fs::create_dir_all(host.path(name)).expect("a mount point");
            format!("1 2 0:1 / {} rw - {rest}\n", host.path(name).display())
        };
        let mountinfo: String = mounts.iter().map(line).collect();
        host.put("mountinfo", &mountinfo);
        host.put("own", "4:memory:/m\n0::/swrun.slice/swrun-env@prod.service\n");
        host
    }

    fn unified() -> Self {
        let host = Self::new(&[("tree", "cgroup2 cgroup2 rw,nsdelegate")]);
        host.put("tree/cgroup.controllers", "cpuset cpu io memory pids\n");
        host
    }

    fn hybrid() -> Self {
        Self::new(&[
            ("tree", "cgroup2 cgroup2 rw"),
            ("memory", "cgroup cgroup rw,memory"),
            ("cpu,cpuacct", "cgroup cgroup rw,cpu,cpuacct"),
            ("pids", "cgroup cgroup rw,pids"),
        ])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("its folder");
        std::fs::write(path, text).expect("a file");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|_| panic!("no {name}"))
    }

    fn detect(&self) -> Result<Box<dyn Driver>, CgroupError> {
        detect(&self.path("mountinfo"), &self.path("own"))
    }

    fn driver(&self) -> Box<dyn Driver> {
        self.detect().expect("a driver")
    }
}

#[test]
fn the_layout_decides_the_driver() {
    assert_eq!(Host::unified().driver().kind(), "unified");
    let hybrid = Host::hybrid();
    assert_eq!(hybrid.driver().kind(), "hybrid");
    let own = hybrid.driver().own_group().expect("the own group");
    assert_eq!(own, Path::new("swrun.slice/swrun-env@prod.service"));
}

#[test]
fn a_host_that_cannot_limit_memory_is_refused_with_what_to_do() {
    let legacy = Host::new(&[("memory", "cgroup cgroup rw,memory")]);
    let error = legacy.detect().expect_err("no v2 tree").to_string();
    assert!(error.contains("no cgroup v2 tree") && error.contains("mount -t cgroup2"), "{error}");
    let bare = Host::new(&[("tree", "cgroup2 cgroup2 rw")]);
    bare.put("tree/cgroup.controllers", "cpu pids memory_x\n");
    assert!(bare.detect().expect_err("no controller").to_string().contains("memory controller"));
    assert!(detect(Path::new("/nowhere"), Path::new("/nowhere")).is_err());
}

#[test]
fn unified_memory_is_read() {
    let host = Host::unified();
    for (file, text) in [
        ("memory.current", "3000\n"),
        ("memory.max", "8000\n"),
        ("memory.peak", "4000\n"),
        ("memory.swap.current", "0\n"),
        ("memory.events", "low 0\nhigh 1\nmax 9\noom 2\noom_kill 3\noom_group_kill 1\n"),
        (
            "memory.stat",
            "anon 1000\nfile 1500\nkernel 300\nkernel_stack 16\npagetables 8\npercpu 4\nsock 2\nvmalloc 1\nshmem 500\nslab_reclaimable 200\nslab_unreclaimable 64\n",
        ),
        ("memory.pressure", "some avg10=2.50 avg60=0.00 avg300=0.00 total=1\n"),
    ] {
        host.put(&format!("tree/{BASE}/app/7/{file}"), text);
    }
    let expected = MemoryReading {
        current: Some(3000),
        anon: Some(1000),
        unreclaimable: Some(1000 + 500 + 16 + 8 + 4 + 2 + 1 + 64),
        max: Some(8000),
        peak: Some(4000),
        swap: Some(0),
        oom_kills: Some(3),
        pressure_avg10: Some(2.5),
    };
    assert_eq!(host.driver().memory(Path::new(BASE), 7), expected);
}

#[test]
fn hybrid_memory_is_read_from_both_trees() {
    let host = Host::hybrid();
    for (file, text) in [
        ("memory.usage_in_bytes", "3000\n"),
        ("memory.limit_in_bytes", "8000\n"),
        ("memory.max_usage_in_bytes", "4000\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        ("memory.stat", "cache 1\nrss 2\ntotal_rss 1000\ntotal_shmem 500\ntotal_swap 0\n"),
    ] {
        host.put(&format!("memory/{BASE}/app/7/{file}"), text);
    }
    host.put(&format!("tree/{BASE}/app/7/memory.pressure"), "some avg10=2.50 avg60=0 avg300=0\n");
    let expected = MemoryReading {
        current: Some(3000),
        anon: Some(1000),
        unreclaimable: Some(1500),
        max: Some(8000),
        peak: Some(4000),
        swap: Some(0),
        oom_kills: Some(3),
        pressure_avg10: Some(2.5),
    };
    assert_eq!(host.driver().memory(Path::new(BASE), 7), expected);
}

#[test]
fn what_cannot_be_read_is_unknown_and_never_0() {
    for host in [Host::unified(), Host::hybrid()] {
        let driver = host.driver();
        let base = Path::new(BASE);
        assert_eq!(driver.memory(base, 1), MemoryReading::default());
        for hierarchy in ["tree", "memory", "cpu,cpuacct", "pids"] {
            for file in [
                "memory.current",
                "memory.stat",
                "memory.events",
                "memory.pressure",
                "memory.max",
                "memory.usage_in_bytes",
                "memory.oom_control",
            ] {
                host.put(&format!("{hierarchy}/{BASE}/app/1/{file}"), "anon\n-1 x\n\u{0}\n");
            }
            // A folder where a file should be fails as a read does.
            std::fs::create_dir_all(host.path(&format!("{hierarchy}/{BASE}/app/1/memory.peak")))
                .expect("a folder");
            host.put(&format!("{hierarchy}/{BASE}/app/cpu.stat"), "usage_usec -\n");
            host.put(&format!("{hierarchy}/{BASE}/app/pids.current"), "");
        }
        assert_eq!(driver.memory(base, 1), MemoryReading::default(), "{}", driver.kind());
        assert_eq!(driver.memory(Path::new("/"), 1), MemoryReading::default());
        assert_eq!(driver.cpu(base), CpuReading::default());
        assert_eq!(driver.pids(base), None);
    }
}

#[test]
fn cpu_and_pids_are_read() {
    let unified = Host::unified();
    unified.put(&format!("tree/{BASE}/app/cpu.stat"), "usage_usec 70\nthrottled_usec 5\n");
    let hybrid = Host::hybrid();
    hybrid.put(&format!("tree/{BASE}/app/cpu.stat"), "usage_usec 70\n");
    hybrid.put(&format!("cpu,cpuacct/{BASE}/app/cpu.stat"), "nr_periods 1\nthrottled_time 5999\n");
    for (host, pids) in [(unified, "tree"), (hybrid, "pids")] {
        host.put(&format!("{pids}/{BASE}/app/pids.current"), "4\n");
        host.put(&format!("{pids}/{BASE}/app/pids.max"), "32\n");
        let driver = host.driver();
        let expected = CpuReading { usage_us: Some(70), throttled_us: Some(5) };
        assert_eq!(driver.cpu(Path::new(BASE)), expected, "{}", driver.kind());
        assert_eq!(driver.pids(Path::new(BASE)), Some(4));
    }
}

#[test]
fn only_controllers_that_are_missing_are_enabled() {
    let host = Host::unified();
    // As below a systemd unit: above all is enabled, and no write is wanted there.
    host.put("tree/cgroup.subtree_control", "cpu io memory pids\n");
    host.put("tree/swrun/cgroup.controllers", "cpu io memory pids\n");
    host.put("tree/swrun/cgroup.subtree_control", "cpu io memory pids\n");
    host.put(&format!("tree/{BASE}/cgroup.controllers"), "cpu io memory pids\n");
    host.put(&format!("tree/{BASE}/cgroup.subtree_control"), "cpu io memory\n");
    host.put(&format!("tree/{BASE}/app/cgroup.controllers"), "cpu memory\n");
    host.put(&format!("tree/{BASE}/app/cgroup.subtree_control"), "cpu memory\n");
    host.put(&format!("tree/{BASE}/monitor/cgroup.procs"), "");
    for file in ["app/pids.max", "app/cpu.max", "app/3/cpu.max"] {
        host.put(&format!("tree/{BASE}/{file}"), "");
    }
    host.driver().lead(Path::new(BASE), 4711).expect("moved");
    host.driver().prepare(Path::new(BASE), &limits()).expect("prepared");
    let unchanged = "cpu io memory pids\n";
    assert_eq!(host.text("tree/cgroup.subtree_control"), unchanged);
    assert_eq!(host.text("tree/swrun/cgroup.subtree_control"), unchanged);
    assert_eq!(host.text(&format!("tree/{BASE}/app/cgroup.subtree_control")), "cpu memory\n");
    // A plain file is overwritten from its start, so this is the write itself.
    assert!(host.text(&format!("tree/{BASE}/cgroup.subtree_control")).starts_with("+pids"));
    assert_eq!(host.text(&format!("tree/{BASE}/monitor/cgroup.procs")), "4711");
    assert_eq!(host.text(&format!("tree/{BASE}/app/pids.max")), "32");
    assert_eq!(host.text(&format!("tree/{BASE}/app/cpu.max")), "50000 100000");
    assert_eq!(host.text(&format!("tree/{BASE}/app/3/cpu.max")), "50000 100000");
}

#[test]
fn without_the_memory_controller_below_it_is_an_error() {
    let host = Host::unified();
    host.put(&format!("tree/{BASE}/monitor/cgroup.procs"), "");
    host.put(&format!("tree/{BASE}/app/cgroup.subtree_control"), "cpu\n");
    let error = host.driver().prepare(Path::new(BASE), &limits()).expect_err("no controller");
    // The first group that did not take it: the root, which has no subtree_control file here.
    assert!(error.path.ends_with("tree/cgroup.subtree_control"), "{error}");
}

#[test]
fn a_failed_instance_leaves_no_group() {
    for host in [Host::unified(), Host::hybrid()] {
        let driver = host.driver();
        // The v2 tree alone: plain folders there have no limit files, and v1 lacks the parents.
        std::fs::create_dir_all(host.path(&format!("tree/{BASE}/app"))).expect("a folder");
        assert!(driver.create_instance(Path::new(BASE), 5, &limits()).is_err());
        assert_eq!(driver.instances(Path::new(BASE)).expect("a list"), [] as [u32; 0]);
    }
}

#[test]
fn a_group_that_is_not_there_is_no_error() {
    for host in [Host::unified(), Host::hybrid()] {
        let driver = host.driver();
        let group = Path::new("swrun/none");
        driver.kill(group).expect("nothing to kill");
        driver.remove(group).expect("nothing to remove");
        assert!(!driver.is_populated(group).expect("known"));
        assert_eq!(driver.processes(group).expect("known"), [] as [i32; 0]);
        assert!(driver.remove(Path::new("")).is_err(), "the root is never removed");
    }
}
