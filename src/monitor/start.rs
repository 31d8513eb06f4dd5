//! Starts one instance: a fresh cgroup, two pipes, a launch message, one clone.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use super::instance::Running;
use super::logs;
use crate::cgroup::Driver;
use crate::model::EnvSpec;
use crate::sys::spawn::{self, INSTANCE_NAMESPACES, Request};
use crate::sys::{channel, memfd};
use crate::wire::launch::{Failure, Launch};

/// What every start of this monitor uses.
#[derive(Debug)]
pub struct Starter {
    /// This program, opened once: the init of an instance is the monitor's own version, whatever is
    /// installed meanwhile.
    program: OwnedFd,
    null: OwnedFd,
}

impl Starter {
    /// Opens what is needed.
    ///
    /// # Errors
    /// open(2).
    pub fn new() -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let program =
            rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { program, null })
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
        let entry = driver
            .create_instance(base, id, &spec.limits)
            .map_err(|e| Failure::new(e.to_string(), &e.source))?;
        let watch = driver
            .watch(base, id, &spec.limits)
            .map_err(|e| Failure::new(e.to_string(), &e.source))?;
        let (out, out_end) = logs::pipe(id).map_err(|e| Failure::new("make a pipe", &e))?;
        let (err, err_end) = logs::pipe(id).map_err(|e| Failure::new("make a pipe", &e))?;
        let (report, report_end) =
            channel::pair().map_err(|e| Failure::new("make the report socket", &e))?;
        rustix::fs::fcntl_setfl(&report, rustix::fs::OFlags::NONBLOCK)
            .map_err(|e| Failure::new("make the report socket", &e.into()))?;
        // A rehearsal is no part of the app: an environment at its limit of processes can be
        // restarted too.
        let (group, joins) =
            if rehearse { (&entry.init_group, &[][..]) } else { (&entry.group, &entry.join[..]) };
        let launch = Launch {
            spec: spec.clone(),
            id,
            rehearse,
            joins: u8::try_from(joins.len()).unwrap_or(u8::MAX),
            views: entry.views,
        };
        let launch = serde_json::to_vec(&launch)
            .map_err(io::Error::from)
            .and_then(|bytes| memfd::sealed("swrun-launch", &bytes))
            .map_err(|e| Failure::new("write the launch message", &e))?;
        let mut descriptors: Vec<BorrowedFd<'_>> =
            [&self.null, &out_end, &err_end, &report_end, &launch, group].map(|d| d.as_fd()).into();
        descriptors.extend(joins.iter().map(|d| d.as_fd()));
        // The name is for `ps`: its form holds no NUL.
        let name = CString::new(spec.name.as_str()).unwrap_or_default();
        let spawned = spawn::spawn(&Request {
            program: self.program.as_fd(),
            arguments: &[c"swrun", c"__init", &name],
            environment: &[],
            descriptors: &descriptors,
            namespaces: INSTANCE_NAMESPACES,
            group: Some(entry.init_group.as_fd()),
            own_session: true,
        })
        .map_err(|e| Failure::new("start the instance's init", &e))?;
        Ok(Running {
            launched: crate::sys::clock::monotonic(),
            init_pid: spawned.pid,
            init: spawned.pidfd,
            // Without it (no right to look at another process) the end takes a moment longer.
            mounts: std::fs::File::open(format!("/proc/{}/ns/mnt", spawned.pid))
                .ok()
                .map(OwnedFd::from),
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
