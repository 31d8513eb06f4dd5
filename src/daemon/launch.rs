//! Starting a monitor: as a unit of systemd's, or directly.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};
use tokio::io::unix::AsyncFd;

use super::Options;
use crate::cgroup::{self, Driver};
use crate::model::{EnvName, Places};
use crate::sys::trace::Trace;
use crate::sys::{channel, command, files, readiness};

/// How long a monitor may take until its socket answers.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Who starts monitors.
#[derive(Debug)]
pub enum Layout {
    /// systemd: `swrun-env@NAME.service`.
    Units,
    /// The runner itself.
    Direct {
        /// The group below which every environment gets its own.
        base: PathBuf,
        /// This program, opened once.
        program: OwnedFd,
    },
}

impl Layout {
    /// The layout that fits the options and the host.
    ///
    /// # Errors
    /// This program could not be opened, or the runner's own group not be found.
    pub fn choose(options: &Options, driver: &dyn Driver) -> Result<Self, String> {
        if options.units {
            return Ok(Self::Units);
        }
        use rustix::fs::{Mode, OFlags};
        let program =
            rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| format!("could not open this program: {e}"))?;
        let base = match super::scope::own(driver)? {
            Some(scope) => scope,
            None => PathBuf::from(own_base(options.places.root())),
        };
        Ok(Self::Direct { base, program })
    }

    /// Starts the monitor of `name`, with the listening sockets that one before it held (systemd hands over
    /// its own copies), and returns once its socket answers.
    ///
    /// # Errors
    /// It could not be started, or ended before it answered: the end of its log says why.
    pub async fn launch(
        &self,
        places: &Places,
        name: &EnvName,
        sockets: &[OwnedFd],
        trace: &mut Trace,
    ) -> Result<(), String> {
        let socket = places.monitor(name).join("sock");
        match self {
            Self::Units => {
                let unit = unit(name);
                systemctl("start", &["--no-block"], name)
                    .await
                    .map_err(|e| format!("could not start the unit \"{unit}\": {e}"))?;
                trace.did("ask systemd for its unit");
                let outcome = until_it_answers(&socket, None).await;
                trace.did("wait until its monitor answers");
                outcome
            }
            Self::Direct { base, program } => {
                let log = places.all_logs().join("monitor.log");
                let before = std::fs::metadata(&log).map_or(0, |found| found.len());
                let group = base.join(name.as_str());
                let (monitor, pid) = start(program, places, name, &group, &log, sockets)
                    .map_err(|e| format!("could not start the monitor of \"{name}\": {e}"))?;
                let monitor = readiness::watch(monitor)
                    .map_err(|e| format!("could not watch the monitor of \"{name}\": {e}"))?;
                trace.did("start its monitor");
                let outcome = until_it_answers(&socket, Some(&monitor)).await;
                trace.did("wait until its monitor answers");
                if outcome.is_ok() {
                    // While it listens to refusals, which takes as long; its groups, made by now, would have waited for
                    // this. Not reaped yet, it has its pid. If this fails, it fails there too and is told.
                    let moved = tokio::task::spawn_blocking(move || {
                        cgroup::detect_own().and_then(|driver| driver.lead(&group, pid))
                    });
                    let _ = moved.await;
                    trace.did("move it to its group");
                } else {
                    // Given up: it must not come up later.
                    let pidfd = monitor.get_ref();
                    let _ =
                        rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
                }
                tokio::task::spawn_local(reap(monitor));
                outcome.map_err(|text| match tail(&log, before) {
                    Some(said) => said,
                    None => text,
                })
            }
        }
    }

    /// The group of an environment that is stopped; `None` where systemd makes it.
    pub fn group_of(&self, name: &EnvName) -> Option<PathBuf> {
        match self {
            Self::Units => None,
            Self::Direct { base, .. } => Some(base.join(name.as_str())),
        }
    }

    /// Asks systemd to stop the unit, since it would start a monitor again that ends by itself;
    /// `false` where the monitor is to be asked directly.
    ///
    /// # Errors
    /// systemd refused.
    pub async fn stop_unit(&self, name: &EnvName) -> Result<bool, String> {
        let Self::Units = self else { return Ok(false) };
        let outcome = systemctl("stop", &["--no-block"], name).await;
        outcome
            .map(|_| true)
            .map_err(|e| format!("could not stop the unit \"{}\": {e}", unit(name)))
    }

    /// Waits until systemd has stopped the unit; without units there is nothing to wait for.
    ///
    /// # Errors
    /// It is not inactive within `limit`.
    pub async fn until_inactive(&self, name: &EnvName, limit: Duration) -> Result<(), String> {
        let Self::Units = self else { return Ok(()) };
        let inactive = async {
            while !is_unit_stopped(name).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(limit, inactive).await;
        waited.map_err(|_| format!("systemd did not stop the unit \"{}\"", unit(name)))
    }

    /// The group round all environments, below the hierarchies' root.
    pub fn base(&self) -> &Path {
        match self {
            Self::Direct { base, .. } => base,
            Self::Units => Path::new("swrun.slice"),
        }
    }

    /// The group of an environment below the hierarchies' root.
    pub fn group(&self, name: &EnvName) -> PathBuf {
        match self {
            Self::Direct { base, .. } => base.join(name.as_str()),
            Self::Units => self.base().join(unit(name)),
        }
    }

    /// Removes what a stopped environment left on the host, in the direct layout.
    pub fn clean(&self, driver: &dyn Driver, places: &Places, name: &EnvName) {
        if let Self::Direct { base, .. } = self {
            let _ = driver.remove(&base.join(name.as_str()));
        }
        let _ = std::fs::remove_file(places.monitor(name).join("sock"));
    }

    /// Leaves the name of the group of all environments where an operator, a successor and the tests
    /// find it.
    pub fn note(&self, places: &Places) {
        if let Self::Direct { base, .. } = self {
            let text = format!("{}\n", base.display());
            let path = places.run().join("cgroup");
            if let Err(error) = files::replace_lightly(&path, text.as_bytes(), 0o644) {
                tracing::warn!("could not write \"{}\": {error}", path.display());
            }
        }
    }

    /// Removes the group of all environments, once it is empty.
    pub fn clean_all(&self, driver: &dyn Driver) {
        if let Self::Direct { base, .. } = self {
            let _ = driver.remove(base);
        }
    }
}

/// The unit of an environment.
pub fn unit(name: &EnvName) -> String {
    format!("swrun-env@{name}.service")
}

/// Whether systemd has stopped the unit and will not start it again.
pub async fn is_unit_stopped(name: &EnvName) -> bool {
    let properties = systemctl("show", &["--property=ActiveState"], name).await;
    let states = ["ActiveState=inactive", "ActiveState=failed"];
    properties.is_ok_and(|text| states.contains(&text.trim()))
}

/// Asks systemd; beside the runner's own thread, which answers others meanwhile.
async fn systemctl(
    verb: &'static str,
    options: &[&'static str],
    name: &EnvName,
) -> io::Result<String> {
    let unit = unit(name);
    let options = options.to_vec();
    let asked = tokio::task::spawn_blocking(move || {
        let mut arguments = vec![verb];
        arguments.extend(options);
        arguments.push(&unit);
        command::run("systemctl", &arguments)
    });
    asked.await.map_err(io::Error::other)?
}

/// One group for each prefix, so that two runners do not meet.
fn own_base(root: &Path) -> String {
    if root == Path::new("/") {
        return "swrun".to_owned();
    }
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    format!("swrun-{:08x}", hasher.finish() & 0xffff_ffff)
}

fn start(
    program: &OwnedFd,
    places: &Places,
    name: &EnvName,
    group: &Path,
    log: &Path,
    sockets: &[OwnedFd],
) -> io::Result<(OwnedFd, u32)> {
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW)
        .open(log)?;
    // By its descriptor: the runner's own version, whatever is installed meanwhile.
    let program = format!("/proc/self/fd/{}", program.as_raw_fd());
    let arguments = ["__monitor", name.as_str(), "--root"].map(OsStr::new);
    let places = [places.root().as_os_str(), "--cgroup".as_ref(), group.as_os_str()];
    let numbers: Vec<String> = sockets.iter().map(|s| s.as_raw_fd().to_string()).collect();
    let numbers = numbers.join(",");
    let passed = ["--sockets".as_ref(), OsStr::new(&numbers)];
    let keeps: Vec<BorrowedFd<'_>> = sockets.iter().map(|socket| socket.as_fd()).collect();
    let arguments = [&arguments[..], &places[..], &passed[..]].concat();
    let child = command::start(program.as_ref(), &arguments, log, &keeps)?;
    // Not reaped before it is watched: the pid is its own.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    Ok((rustix::process::pidfd_open(pid, PidfdFlags::empty())?, child.id()))
}

async fn until_it_answers(socket: &Path, monitor: Option<&AsyncFd<OwnedFd>>) -> Result<(), String> {
    let answers = async {
        // The folder may not be there yet: looked for in growing steps, from half a millisecond on.
        let mut pause = Duration::from_micros(500);
        while channel::connect(socket).is_err() {
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(50));
        }
    };
    let ended = async {
        match monitor {
            Some(monitor) => drop(monitor.readable().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = answers => Ok(()),
        () = ended => Err("the monitor ended before it was ready".to_owned()),
        () = tokio::time::sleep(READY_WITHIN) => {
            Err(format!("the monitor did not answer within {} s", READY_WITHIN.as_secs()))
        }
    }
}

/// Monitors that were children of the program before in this process's place are this one's.
pub fn reap_inherited() {
    let Ok(children) = std::fs::read_to_string("/proc/thread-self/children") else { return };
    for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        if let Ok(monitor) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            && let Ok(monitor) = readiness::watch(monitor)
        {
            tokio::task::spawn_local(reap(monitor));
        }
    }
}

/// Takes the status of a monitor that was this runner's child.
async fn reap(monitor: AsyncFd<OwnedFd>) {
    if monitor.readable().await.is_ok() {
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(monitor.get_ref().as_fd()),
            rustix::process::WaitIdOptions::EXITED,
        );
    }
}

/// The last line that came into the log since it had `before` bytes.
fn tail(log: &Path, before: u64) -> Option<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(log).ok()?;
    file.seek(SeekFrom::Start(before)).ok()?;
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).ok()?;
    text.lines().last().map(str::to_owned)
}
