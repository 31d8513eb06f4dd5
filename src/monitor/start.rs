//! Starts one instance: two pipes, one fork, and a fresh cgroup while the child builds its cage.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use super::instance::Running;
use super::logs;
use crate::cgroup::{CgroupError, Driver, Entry};
use crate::model::EnvSpec;
use crate::sys::channel;
use crate::sys::fork::{Birth, Child, INSTANCE_NAMESPACES, fork};
use crate::wire::launch::{Failure, Group, Init, Launch};

/// What every start of this monitor uses.
#[derive(Debug)]
pub struct Starter {
    init: Init,
    null: OwnedFd,
}

impl Starter {
    /// Opens what is needed; `init` is what the child does.
    ///
    /// # Errors
    /// open(2).
    pub fn new(init: Init) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { init, null })
    }

    /// Starts instance `id`; a rehearsal does everything but execute the app.
    ///
    /// # Errors
    /// The step that failed; the instance's cgroup may be left to remove.
    pub fn start(
        &self,
        driver: &dyn Driver,
        base: &Path,
        spec: &EnvSpec,
        id: u32,
        rehearse: bool,
    ) -> Result<Running, Failure> {
        let (out, out_end) = logs::pipe(id).map_err(|e| Failure::new("make a pipe", &e))?;
        let (err, err_end) = logs::pipe(id).map_err(|e| Failure::new("make a pipe", &e))?;
        let (report, report_end) =
            channel::pair().map_err(|e| Failure::new("make the report socket", &e))?;
        rustix::fs::fcntl_setfl(&report, rustix::fs::OFlags::NONBLOCK)
            .map_err(|e| Failure::new("make the report socket", &e.into()))?;
        let init_group = driver.open_init(base).map_err(refused)?;
        let birth = Birth {
            namespaces: INSTANCE_NAMESPACES,
            group: init_group.as_fd(),
            descriptors: &[&self.null, &out_end, &err_end, &report_end].map(|d| d.as_fd()),
        };
        let launch = Launch { spec, id, rehearse };
        let child = fork(&birth, |given| {
            let report = given.into_iter().next().ok_or(io::ErrorKind::InvalidInput)?;
            Ok((self.init)(&launch, report))
        })
        .map_err(|e| Failure::new("start the instance's init", &e))?;
        let grouped = driver.create_instance(base, id, &spec.limits).and_then(|entry| {
            let watch = driver.watch(base, id, &spec.limits)?;
            Ok((entry, watch))
        });
        let watch = grouped
            .map_err(refused)
            .and_then(|(entry, watch)| {
                hand_over(&report, entry, &init_group, rehearse).map(|()| watch)
            })
            .inspect_err(|_| end(&child))?;
        Ok(Running {
            launched: crate::sys::clock::monotonic(),
            init_pid: child.pid,
            init: child.pidfd,
            // Without it (no right to look at another process) the end takes a moment longer.
            mounts: None,
            report: Some(report),
            app: None,
            app_pid: None,
            watch: (!rehearse).then_some(watch),
            out: Some(out),
            err: Some(err),
            end: None,
            failure: None,
            next_look: None,
            missing_ports: Vec::new(),
            soft_look: None,
            last_soft_look: std::time::Duration::ZERO,
            breached: false,
        })
    }
}

/// Hands the cgroup to init, which waits for it.
fn hand_over(
    report: &OwnedFd,
    entry: Entry,
    init_group: &OwnedFd,
    rehearse: bool,
) -> Result<(), Failure> {
    // A rehearsal is no part of the app: an environment at its limit of processes can be restarted too.
    let (group, joins) =
        if rehearse { (init_group, &[][..]) } else { (&entry.group, &entry.join[..]) };
    let descriptors: Vec<BorrowedFd<'_>> =
        std::iter::once(group).chain(joins).map(|d| d.as_fd()).collect();
    serde_json::to_vec(&Group { views: entry.views })
        .map_err(io::Error::from)
        .and_then(|text| channel::send(report.as_fd(), &text, &descriptors))
        .map_err(|e| Failure::new("hand the cgroup to the instance's init", &e))
}

fn refused(error: CgroupError) -> Failure {
    Failure::new(error.to_string(), &error.source)
}

/// Ends an init that cannot go on, so that neither a process nor a zombie stays.
fn end(child: &Child) {
    use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
    let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
}
