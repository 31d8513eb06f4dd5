//! Starts one instance: a fresh cgroup, two pipes, one clone.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use super::budget::Budget;
use super::instance::Running;
use super::logs::{self, Capture};
use super::ready::Words;
use crate::cgroup::{CgroupError, Driver, Entry, Watch};
use crate::model::EnvSpec;
use crate::privilege::etc::Etc;
use crate::sys::channel;
use crate::sys::fork::{Birth, fork};
use crate::sys::trace::Trace;
use crate::wire::launch::{Failure, Handed, Init, Launch};

/// What every start of this monitor uses.
#[derive(Debug)]
pub struct Starter {
    init: Init,
    etc: Etc,
    /// It was brought up to date once.
    has_etc: bool,
    null: OwnedFd,
    ready: Option<Place>,
    /// Cgroups in which nobody is any more, and that could not be removed then.
    left: Vec<u32>,
}

/// How an instance is started.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Its number among the instances, from 0.
    pub place: u32,
    /// Everything but the exec.
    pub rehearse: bool,
    /// Its calls of listen(2) are answered by the monitor.
    pub is_walled: bool,
}

/// An instance's cgroup and its channels, before there is a process.
#[derive(Debug)]
struct Place {
    id: u32,
    entry: Entry,
    watch: Box<dyn Watch>,
    out: (Capture, OwnedFd),
    err: (Capture, OwnedFd),
    report: (OwnedFd, OwnedFd),
}

impl Place {
    fn make(driver: &dyn Driver, base: &Path, spec: &EnvSpec, id: u32) -> Result<Self, Failure> {
        let entry = driver.create_instance(base, id, &spec.limits).map_err(refused)?;
        let watch = driver.watch(base, id, &spec.limits).map_err(refused)?;
        let pipe = || logs::pipe(id).map_err(|e| Failure::new("make a pipe", &e));
        let report = channel::pair().map_err(|e| Failure::new("make the report socket", &e))?;
        rustix::fs::fcntl_setfl(&report.0, rustix::fs::OFlags::NONBLOCK)
            .map_err(|e| Failure::new("make the report socket", &e.into()))?;
        Ok(Self { id, entry, watch, out: pipe()?, err: pipe()?, report })
    }
}

fn refused(error: CgroupError) -> Failure {
    let hint = error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    Failure {
        step: format!("{} \"{}\"", error.doing, error.path.display()),
        why: format!("{}{hint}", error.source),
        errno: error.source.raw_os_error(),
    }
}

impl Starter {
    /// Opens what is needed; `init` is what the child does, `etc` the `/etc` that it shows.
    ///
    /// # Errors
    /// open(2).
    pub fn new(init: Init, etc: Etc) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { init, etc, has_etc: false, null, ready: None, left: Vec::new() })
    }

    /// Makes the place of the next instance ahead of time, so that a crash does not wait for it (a
    /// quarter of a millisecond). One that cannot be made is tried again at the start, which tells why.
    pub fn prepare(&mut self, driver: &dyn Driver, base: &Path, spec: &EnvSpec, id: u32) {
        if self.ready.as_ref().is_some_and(|place| place.id == id) {
            return;
        }
        self.discard(driver, base);
        self.ready = self.make_place(driver, base, spec, id).ok();
        // What it has now will do, where it cannot be brought up to date.
        self.has_etc |= self.etc.renew_lightly(spec).is_ok();
    }

    /// Gives up the place that was made: the next instance is one of another spec.
    pub fn discard(&mut self, driver: &dyn Driver, base: &Path) {
        if let Some(Place { id, .. }) = self.ready.take() {
            self.remove(driver, base, id);
        }
    }

    /// Removes the cgroup of a place in which nobody ever was; on a host that has no descriptor left that has to
    /// wait.
    fn remove(&mut self, driver: &dyn Driver, base: &Path, id: u32) {
        self.remove_later(id);
        self.remove_left(driver, base);
    }

    /// Removes the cgroup of an instance that is dead at the next start: this host has nothing left to do it with.
    pub fn remove_later(&mut self, id: u32) {
        self.left.push(id);
    }

    fn remove_left(&mut self, driver: &dyn Driver, base: &Path) {
        self.left.retain(|id| driver.remove(&base.join("app").join(id.to_string())).is_err());
    }

    fn make_place(
        &mut self,
        driver: &dyn Driver,
        base: &Path,
        spec: &EnvSpec,
        id: u32,
    ) -> Result<Place, Failure> {
        let made = Place::make(driver, base, spec, id);
        match &made {
            // Somebody else's.
            Err(failure) if failure.errno == Some(libc::EEXIST) => {}
            // Half made it would be in the way of the next try.
            Err(_) => self.remove(driver, base, id),
            Ok(_) => self.remove_left(driver, base),
        }
        made
    }

    /// Starts instance `id`; a rehearsal does everything but execute the app.
    ///
    /// # Errors
    /// The step that failed; the instance's cgroup may be left to remove.
    pub fn start(
        &mut self,
        driver: &dyn Driver,
        base: &Path,
        spec: &EnvSpec,
        id: u32,
        how: How,
    ) -> Result<Running, Failure> {
        let How { place, rehearse, is_walled } = how;
        let mut trace = Trace::begin("monitor");
        if rehearse || !self.has_etc {
            // A rehearsal is one of a new spec.
            let made = if rehearse { self.etc.renew_lightly(spec) } else { self.etc.make(spec) };
            made.map_err(|e| Failure::new("copy the files of /etc", &e))?;
            self.has_etc = true;
            trace.did("copy the files of /etc");
        }
        let made = match self.ready.take_if(|place| place.id == id) {
            Some(made) => made,
            None => {
                let made = self.make_place(driver, base, spec, id)?;
                trace.did("make its group and its pipes");
                made
            }
        };
        let Place { entry, watch, out: (out, out_end), err: (err, err_end), report, .. } = made;
        let (report, report_end) = report;
        // A rehearsal is no part of the app: an environment at its limit of processes can be
        // restarted too.
        let (group, joins) =
            if rehearse { (&entry.init_group, &[][..]) } else { (&entry.group, &entry.join[..]) };
        let mut descriptors: Vec<BorrowedFd<'_>> =
            [&self.null, &out_end, &err_end, &report_end, group].map(|d| d.as_fd()).into();
        descriptors.extend(joins.iter().map(|d| d.as_fd()));
        let etc = (self.etc.shared.as_path(), self.etc.own.as_path());
        let launch = Launch { spec, id, place, rehearse, views: &entry.views, etc, is_walled };
        let birth = Birth {
            namespaces: launch.namespaces(),
            group: entry.init_group.as_fd(),
            descriptors: &descriptors,
        };
        let child = fork(&birth, |given| {
            let mut given = given.into_iter();
            let (Some(report), Some(group)) = (given.next(), given.next()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            Ok((self.init)(&launch, Handed { report, group, joins: given.collect() }))
        })
        .map_err(|e| Failure::new("start the instance's init", &e))?;
        trace.did("fork its init");
        Ok(Running {
            trace,
            launched: crate::sys::clock::monotonic(),
            init_pid: child.pid,
            init: child.pidfd,
            // Without it (no right to look at another process) the end takes a moment longer.
            mounts: None,
            report: Some(report),
            app: None,
            calls: None,
            says: None,
            words: Words::of(spec.ready),
            refused: Budget::default(),
            listened: Budget::default(),
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
