//! The cgroup driver against this machine's kernel, whichever layout it has: through the trait
//! only, with real groups below a base of each test's own. Needs root.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollTimeout, poll};
use swrun::cgroup::{self, Counters, Driver, Entry, Watch};
use swrun::model::Limits;

/// The ceiling of all tests here.
const CEILING: u64 = 24 << 20;

/// For what needs long on an emulated machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits {
        memory_max: CEILING,
        memory_high: None,
        cpu_percent: Some(150),
        pids: 64,
        open_files: 1024,
    }
}

/// A base with `monitor`, `init` and `app`, a process in the monitor's place, and its end.
struct Cage {
    driver: Box<dyn Driver>,
    base: PathBuf,
    monitor: Child,
}

impl Cage {
    /// `None`, said aloud, where the machine does not allow it.
    fn new(limits: &Limits) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: making cgroups needs root");
            return None;
        }
        let driver =
            cgroup::detect(Path::new("/proc/self/mountinfo"), Path::new("/proc/self/cgroup"))
                .expect("this machine's cgroups");
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = PathBuf::from(format!("swrun-test-{}-{number}", std::process::id()));
        let monitor = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        let cage = Self { driver, base, monitor };
        cage.driver.lead(&cage.base, cage.monitor.id()).expect("a base");
        cage.driver.prepare(&cage.base, limits).expect("a base");
        Some(cage)
    }

    fn group(&self, id: u32) -> PathBuf {
        self.base.join("app").join(id.to_string())
    }

    /// An instance that runs the shell text `script`, in its groups before the first command.
    fn start(&self, id: u32, limits: &Limits, script: &str) -> (Box<dyn Watch>, Child) {
        let entry = self.driver.create_instance(&self.base, id, limits).expect("an instance");
        let mut watch = self.driver.watch(&self.base, id, limits).expect("a watch");
        assert!(!watch.look().is_breach(), "a new group has had no breach");
        let child = join(&entry, script);
        (watch, child)
    }

    /// The kernel's limit of processes.
    fn most_processes(&self) -> Option<u64> {
        let files = self.folders().into_iter().map(|folder| folder.join("app/pids.max"));
        files.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).next()
    }

    /// Every folder of the base in every mounted hierarchy.
    fn folders(&self) -> Vec<PathBuf> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
        let is_cgroup = |line: &&str| line.contains(" - cgroup");
        mounts
            .lines()
            .filter(is_cgroup)
            .filter_map(|line| line.split(' ').nth(4))
            .map(|point| Path::new(point).join(&self.base))
            .filter(|folder| folder.exists())
            .collect()
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // Also after a failed assertion: nothing of a test stays behind.
        let _ = self.driver.kill(&self.base);
        let _ = self.monitor.wait();
        let _ = self.driver.remove(&self.base);
    }
}

/// Runs the shell text `script` in the groups of `entry`; it starts when it is in all of them.
fn join(entry: &Entry, script: &str) -> Child {
    let mut child = Command::new("sh")
        .args(["-c", &format!("read -r go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let pid = child.id().to_string();
    let group = format!("/proc/self/fd/{}/cgroup.procs", entry.group.as_raw_fd());
    let group = OpenOptions::new().write(true).open(group).expect("the v2 group");
    let joins = entry.join.iter().map(|fd| File::from(fd.try_clone().expect("a descriptor")));
    for mut procs in joins.chain([group]) {
        procs.write_all(pid.as_bytes()).expect("joined");
    }
    child.stdin.as_mut().expect("a pipe").write_all(b"go\n").expect("it listens");
    child
}

/// Waits for the kernel to say that something happened; whether it did in time.
fn woken(watch: &dyn Watch, patience: Duration) -> bool {
    let mut asked: Vec<_> =
        watch.descriptors().into_iter().map(|(fd, events)| PollFd::new(fd, events)).collect();
    let patience = PollTimeout::try_from(patience).expect("a time that poll takes");
    poll(&mut asked, patience).expect("poll") > 0
}

/// Wakes up and looks until there is a breach.
fn wait_for_breach(watch: &mut dyn Watch) -> Counters {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        assert!(woken(watch, deadline - Instant::now()), "no event for a breach");
        let counters = watch.look();
        if counters.is_breach() {
            return counters;
        }
    }
    panic!("no breach");
}

fn line_of(child: &mut Child) -> String {
    let mut byte = [0];
    let mut line = String::new();
    let output = child.stdout.as_mut().expect("a pipe");
    while output.read(&mut byte).expect("output") == 1 && byte[0] != b'\n' {
        line.push(char::from(byte[0]));
    }
    line
}

#[test]
fn a_breach_is_told_at_once_counted_and_leaves_nothing() {
    let Some(cage) = Cage::new(&limits()) else { return };
    // tail keeps a line that does not end: anonymous memory without end.
    let (mut watch, mut child) = cage.start(
        1,
        &limits(),
        "sleep 900 & head -c 999M /dev/zero | tail -c 999M >/dev/null; echo died; read -r never",
    );
    // On v1 tail alone was killed and the shell says so, on v2 all were: end of output.
    line_of(&mut child);
    // v1 tells of it before it kills. v2 has counted it by then too, but may tell 10 ms later, when
    // there was another event just before (cgroup_file_notify() in Linux, kernel/cgroup/cgroup.c).
    let patience = if cage.driver.kind() == "hybrid" { Duration::ZERO } else { PATIENCE };
    assert!(woken(&*watch, patience), "the event came before or with the death");
    let breach = watch.look();
    assert!(breach.is_breach(), "it is counted at the death: {breach:?}");
    cage.driver.kill(&cage.group(1)).expect("the rest dies");
    assert_eq!(child.wait().expect("its end").signal(), Some(9));

    let after = watch.look();
    assert!(after.oom.is_some_and(|n| n > 0), "{breach:?} {after:?}");
    assert!(after.oom_kill.is_some_and(|n| n > 0), "{after:?}");
    let memory = cage.driver.memory(&cage.base, 1);
    assert_eq!(memory.max, Some(CEILING));
    assert!(memory.oom_kills.is_some_and(|n| n > 0), "{memory:?}");
    assert!(memory.peak.is_none_or(|peak| peak > CEILING / 2 && peak <= CEILING), "{memory:?}");

    // The event that comes with the removal of a group is no breach.
    cage.driver.remove(&cage.group(1)).expect("an empty group");
    assert!(woken(&*watch, PATIENCE), "no event for the removal");
    assert_eq!(watch.look().oom, if cage.driver.kind() == "hybrid" { after.oom } else { None });
    assert_eq!(cage.driver.instances(&cage.base).expect("a list"), [] as [u32; 0]);

    // The next instance knows nothing of it.
    let (mut watch, mut child) = cage.start(2, &limits(), "echo up; read -r end");
    line_of(&mut child);
    let fresh = watch.look();
    assert!(!fresh.is_breach() && fresh.oom_kill == Some(0), "{fresh:?}");
    drop(child.stdin.take());
    child.wait().expect("its end");
}

#[test]
fn a_quiet_instance_wakes_nobody_and_its_removal_is_no_breach() {
    let Some(cage) = Cage::new(&limits()) else { return };
    let (mut watch, mut child) = cage.start(1, &limits(), "echo up; read -r end");
    line_of(&mut child);
    assert!(!woken(&*watch, Duration::from_millis(300)), "nothing happened");
    drop(child.stdin.take());
    child.wait().expect("its end");
    cage.driver.remove(&cage.group(1)).expect("an empty group");
    // The kernel tells a removal as an event too, a moment later.
    assert!(woken(&*watch, PATIENCE), "no event for the removal");
    let counters = watch.look();
    assert!(!counters.is_breach(), "{counters:?}");
    assert_eq!(counters.oom_kill, None, "a group that is gone has no counters");
}

#[test]
fn kill_ends_a_forked_tree_at_once_and_remove_leaves_nothing() {
    let Some(cage) = Cage::new(&limits()) else { return };
    let script =
        "(setsid sh -c 'sleep 900 & sleep 900 & wait' & setsid sleep 900 & wait) & echo up; wait";
    let (_watch, mut child) = cage.start(4, &limits(), script);
    line_of(&mut child);
    let deadline = Instant::now() + PATIENCE;
    // The forks are not awaited by the shell, and there is no event for "six are there".
    while cage.driver.processes(&cage.group(4)).expect("a list").len() < 6 {
        assert!(Instant::now() < deadline, "the tree never grew");
        std::thread::yield_now();
    }
    let (now, most) = (cage.driver.pids(&cage.base), cage.most_processes());
    assert!(now.is_some_and(|now| now >= 6) && most == Some(64), "{now:?} {most:?}");
    assert!(cage.driver.is_populated(&cage.group(4)).expect("known"));
    let folders = cage.folders();
    assert!(!folders.is_empty());

    cage.driver.kill(&cage.group(4)).expect("killed");
    assert_eq!(child.wait().expect("its end").signal(), Some(9));
    // The rest of the tree leaves a moment later; remove awaits it.
    cage.driver.remove(&cage.group(4)).expect("it empties by itself");
    assert!(!cage.driver.is_populated(&cage.group(4)).expect("known"));
    assert_eq!(cage.driver.processes(&cage.group(4)).expect("a list"), [] as [i32; 0]);

    // The base is in use until the monitor has gone.
    let error = cage.driver.remove(&cage.base).expect_err("the monitor lives").to_string();
    assert!(error.contains("processes still live in it"), "{error}");
    cage.driver.kill(&cage.base).expect("the monitor dies");
    cage.driver.remove(&cage.base).expect("all is empty");
    assert_eq!(cage.folders(), [] as [PathBuf; 0]);
}

#[test]
fn reading_four_times_the_ceiling_is_no_breach() {
    let Some(cage) = Cage::new(&limits()) else { return };
    let amount = usize::try_from(4 * CEILING).expect("it fits");
    // A file of our own whose pages were dropped, and what is installed: where the folder is in
    // memory, only the latter is page cache that the instance is charged for.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = folder.path().join("pages");
    std::fs::write(&file, vec![7; amount]).expect("a file");
    let opened = File::open(&file).expect("the file");
    opened.sync_all().expect("written");
    nix::fcntl::posix_fadvise(&opened, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .expect("dropped");
    let script = format!(
        "cat '{}' >/dev/null; find /usr/lib /usr/bin -type f -size +500k -exec cat {{}} + 2>/dev/null | head -c {amount} >/dev/null; echo read; read -r end; true",
        file.display()
    );
    let (mut watch, mut child) = cage.start(1, &limits(), &script);
    assert_eq!(line_of(&mut child), "read");
    let counters = watch.look();
    assert!(!counters.is_breach(), "{counters:?}");
    assert!(counters.oom_kill == Some(0), "{counters:?}");
    let memory = cage.driver.memory(&cage.base, 1);
    assert!(memory.current.is_some_and(|bytes| bytes > CEILING / 2), "it did fill: {memory:?}");
    assert!(memory.unreclaimable.is_some_and(|bytes| bytes < CEILING / 2), "{memory:?}");
    drop(child.stdin.take());
    assert!(child.wait().expect("its end").success(), "it lived");
}

#[test]
fn shared_memory_counts_and_breaches() {
    let Some(cage) = Cage::new(&limits()) else { return };
    let folder = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let file = folder.path().join("shm");
    let script = format!(
        "head -c {} /dev/zero >'{1}'; echo half; read -r go; head -c {CEILING} /dev/zero >>'{1}'; echo more; read -r go",
        CEILING / 2,
        file.display()
    );
    let (mut watch, mut child) = cage.start(1, &limits(), &script);
    assert_eq!(line_of(&mut child), "half");
    let memory = cage.driver.memory(&cage.base, 1);
    assert!(memory.unreclaimable.is_some_and(|bytes| bytes >= CEILING / 2), "{memory:?}");
    assert!(memory.anon.is_some_and(|bytes| bytes < CEILING / 4), "{memory:?}");
    assert!(!watch.look().is_breach());
    child.stdin.as_mut().expect("a pipe").write_all(b"go\n").expect("it listens");
    assert!(wait_for_breach(&mut *watch).is_breach());
    cage.driver.kill(&cage.group(1)).expect("killed");
    child.wait().expect("its end");
}

#[test]
fn the_soft_ceiling_is_told() {
    let Some(cage) = Cage::new(&limits()) else { return };
    let limits = Limits { memory_high: Some(CEILING / 2), ..limits() };
    // Slowed down above it by the kernel (v2), so it stays below the ceiling by itself.
    let script =
        format!("head -c {} /dev/zero | tail -c 999M >/dev/null; read -r end", CEILING / 8 * 5);
    let (mut watch, mut child) = cage.start(1, &limits, &script);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(woken(&*watch, deadline - Instant::now()), "no event for the soft ceiling");
        let counters = watch.look();
        if counters.high.is_some_and(|n| n > 0) {
            assert!(!counters.is_breach(), "{counters:?}");
            break;
        }
    }
    cage.driver.kill(&cage.group(1)).expect("killed");
    child.wait().expect("its end");
}

#[test]
fn limits_hold_and_what_is_read_is_plausible() {
    let limits = Limits { pids: 8, ..limits() };
    let Some(cage) = Cage::new(&limits) else { return };
    let script =
        "i=0; while [ $i -lt 20 ]; do sleep 900 >/dev/null & i=$((i+1)); done; echo unreached";
    let (_watch, mut child) = cage.start(1, &limits, script);
    // The shell gives up at the first fork that fails.
    assert_eq!(line_of(&mut child), "");
    child.wait().expect("its end");
    let (now, most) = (cage.driver.pids(&cage.base), cage.most_processes());
    assert_eq!(most, Some(8));
    assert!(now.is_some_and(|now| now <= 8), "{now:?}");
    let cpu = cage.driver.cpu(&cage.base);
    assert!(cpu.usage_us.is_some_and(|us| us > 0) && cpu.throttled_us.is_some(), "{cpu:?}");
    let memory = cage.driver.memory(&cage.base, 1);
    assert!(memory.current.is_some_and(|bytes| bytes > 0), "{memory:?}");
    let has_pressure = Path::new("/proc/pressure/memory").exists();
    assert_eq!(memory.pressure_avg10.is_some(), has_pressure, "{memory:?}");
    // Set anew, as after an edited profile.
    cage.driver
        .prepare(&cage.base, &Limits { pids: 9, cpu_percent: None, ..limits })
        .expect("again");
    assert_eq!(cage.most_processes(), Some(9));
}

#[test]
fn an_instance_is_made_once_and_opened_for_nobody_else() {
    let Some(cage) = Cage::new(&limits()) else { return };
    let entry = cage.driver.create_instance(&cage.base, 3, &limits()).expect("an instance");
    assert!(cage.driver.create_instance(&cage.base, 3, &limits()).is_err(), "a group is used once");
    assert_eq!(cage.driver.instances(&cage.base).expect("a list"), [3]);
    for fd in entry.join.iter().chain([&entry.group, &entry.init_group]) {
        let flags = rustix::io::fcntl_getfd(fd).expect("its flags");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "no program inherits it");
    }
    let watch = cage.driver.watch(&cage.base, 3, &limits()).expect("a watch");
    for (fd, _) in watch.descriptors() {
        let flags = rustix::io::fcntl_getfd(fd.as_fd()).expect("its flags");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "no program inherits it");
    }
    for (host, cage) in &entry.views {
        assert!(host.is_dir() && cage.starts_with("/sys/fs/cgroup"), "{host:?} {cage:?}");
    }
}

#[test]
fn a_base_that_holds_the_monitor_itself_can_be_prepared() {
    let Some(cage) = Cage::new(&limits()) else { return };
    // As systemd's unit does: the process is in the very group that is to get children.
    let unit = cage.base.join("monitor");
    let monitor = i32::try_from(cage.monitor.id()).expect("a pid");
    assert_eq!(cage.driver.processes(&unit).expect("a list"), [monitor]);
    cage.driver.lead(&unit, cage.monitor.id()).expect("it is moved out first");
    cage.driver.prepare(&unit, &limits()).expect("nothing is in it");
    assert_eq!(cage.driver.processes(&unit.join("monitor")).expect("a list"), [monitor]);
    let entry = cage.driver.create_instance(&unit, 1, &limits()).expect("an instance");
    let mut child = join(&entry, "echo up; read -r end");
    line_of(&mut child);
    assert_eq!(cage.driver.memory(&unit, 1).max, Some(CEILING));
    drop(child.stdin.take());
    child.wait().expect("its end");
}
