//! The runner's part in the wall of ports: builds it, and says which ports are reserved for whom it knows.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::peers;
use super::registry::Runner;
use super::{Options, Reach, launch::Layout};
use crate::cgroup::Driver;
use crate::model::{Places, Port, PortLine};
use crate::ports::{Settings, Wall};

/// Where a BPF file system is, on a host of systemd's.
const PINS: &str = "/sys/fs/bpf";

/// The wall, or why there is none.
#[derive(Debug)]
pub struct Walls {
    wall: Result<Arc<Wall>, String>,
    settings: Settings,
    /// Something may be left behind the wall.
    left: Notify,
}

impl Walls {
    /// Builds the wall, or finds the one that stands.
    pub fn build(options: &Options, layout: &Layout, driver: &dyn Driver) -> Self {
        let places = &options.places;
        let note = places.run().join("settings");
        let settings = Settings::new(Path::new("/proc/sys/net/ipv4"), &note);
        let wall = build(options, layout, driver)
            .map(Arc::new)
            .map_err(|e| format!("ports are not guarded: the wall could not be built: {e}"));
        if let Err(text) = &wall {
            tracing::warn!("{text}");
        }
        Self { wall, settings, left: Notify::new() }
    }

    /// What an operator should know of it.
    pub fn degraded(&self) -> Option<String> {
        self.wall.as_ref().err().cloned()
    }

    /// Whether ports are reserved.
    pub fn stands(&self) -> bool {
        self.wall.is_ok()
    }

    /// What ended monitors have left behind the wall is freed a moment later.
    pub fn sweep(&self) {
        self.left.notify_one();
    }

    /// Everything is ended: the host is as it was.
    pub fn fall(&self, places: &Places) {
        if let Err(error) = self.settings.undo() {
            tracing::warn!("could not put the host's network settings back: {error}");
        }
        let _ = std::fs::remove_file(places.wall());
        if places.root() == Path::new("/") {
            let _ = std::fs::remove_dir_all(Path::new(PINS).join(NAME));
        }
    }
}

/// The folder of our pins.
const NAME: &str = "swrun";

fn build(options: &Options, layout: &Layout, driver: &dyn Driver) -> io::Result<Wall> {
    if !counts_from_the_root() {
        let why = "in a cgroup namespace of its own (a container's) it cannot tell how deep its cgroups lie";
        return Err(io::Error::other(why));
    }
    let base = layout.base();
    let level = base.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    let level = u32::try_from(level.count() + 1).map_err(io::Error::other)?;
    let tree = driver.tree();
    let target = match options.reach {
        Reach::Host => tree.to_owned(),
        Reach::Own => {
            let folder = driver.folder(base);
            std::fs::create_dir_all(&folder)?;
            folder
        }
        Reach::Nobody => {
            return Err(io::Error::other("turned off with \"--reserve-ports none\""));
        }
    };
    // Another prefix on this host has no part in them.
    let can_pin = options.reach == Reach::Host
        && options.places.root() == Path::new("/")
        && is_bpf(Path::new(PINS));
    let pins = can_pin.then(|| Path::new(PINS).join(NAME));
    let wall = Wall::build(&options.places.wall(), &target, level, pins.as_deref())?;
    if let Some(pins) = pins {
        wall.keep(&pins)?;
    }
    Ok(wall)
}

/// Frees what monitors have left, for as long as the runner lives: beside its own thread, since the kernel has to be waited
/// for, and no order is to be.
pub async fn keep_swept(runner: Rc<Runner>) {
    let Ok(wall) = &runner.walls.wall else { return };
    loop {
        runner.walls.left.notified().await;
        let wall = Arc::clone(wall);
        let sweep = move || wall.let_go(&wall.left_rings()?);
        let swept: io::Result<()> =
            tokio::task::spawn_blocking(sweep).await.unwrap_or_else(|error| Err(error.into()));
        if let Err(error) = swept {
            tracing::warn!(
                "could not free what ended monitors have left of the wall of ports: {error}"
            );
        }
    }
}

/// Whether paths of cgroups begin where the kernel counts from: in a namespace that is not the first one they do not
/// (cgroup_namespaces(7); its number is `CGROUP_NS_INIT_INO` of the kernel's nsfs.h; a kernel without such namespaces has none).
fn counts_from_the_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    const FIRST: u64 = 0xEFFF_FFFB;
    std::fs::metadata("/proc/self/ns/cgroup").map_or(true, |found| found.ino() == FIRST)
}

fn is_bpf(folder: &Path) -> bool {
    let found = rustix::fs::statfs(folder);
    // The kernel's number has 32 bits; on some machines it comes sign-extended.
    found.is_ok_and(|found| found.f_type as u32 == libc::BPF_FS_MAGIC as u32)
}

impl Runner {
    /// Reserves the ports of every environment that is known, running or not.
    pub fn reserve_ports(&self) {
        let Ok(wall) = &self.walls.wall else { return };
        let mut ports: BTreeSet<Port> = BTreeSet::new();
        for entry in self.entries() {
            let known = entry.known.borrow();
            let spec = known.as_ref().and_then(|known| known.spec.as_ref());
            ports.extend(spec.iter().flat_map(|spec| &spec.ports));
            // What it runs with, until it is restarted.
            ports.extend(self.ports_of_spec(&entry));
        }
        let numbers = ports.iter().map(|port| port.port).collect();
        let ports: Vec<Port> = ports.into_iter().collect();
        self.mark_places();
        let folder = self.driver.folder(self.layout.base());
        if let Err(error) = wall.reserve(&ports, &folder) {
            tracing::warn!("could not reserve ports: {error}");
        }
        self.walls.sweep();
        if let Err(error) = self.walls.settings.apply(&numbers) {
            tracing::warn!("could not change the host's network settings: {error}");
        }
    }

    /// Tells the wall the addresses of this host.
    pub fn mark_places(&self) {
        if let Ok(wall) = &self.walls.wall
            && let Err(error) = wall.mark_places(&peers::of_this_host())
        {
            tracing::warn!("could not tell the wall this host's addresses: {error}");
        }
    }

    /// Adds what the kernel has counted of a port.
    pub fn count_port(&self, line: &mut PortLine) {
        if let Ok(wall) = &self.walls.wall {
            wall.count(line);
        }
    }
}
