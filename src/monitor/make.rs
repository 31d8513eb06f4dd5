//! How a monitor comes to be: of a spec, after one that was killed, or in the place of an older program.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Arguments;
use super::control::Control;
use super::handover::State;
use super::holder::Told;
use super::listeners::Listeners;
use super::logs::Logs;
use super::measure::Samples;
use super::notices::Telling;
use super::past::Past;
use super::refusals::Refusals;
use super::run::{Monitor, rules};
use super::start::Starter;
use crate::cgroup::{self, Driver};
use crate::formats::memory_file::{self, Memory};
use crate::formats::spec_file;
use crate::lifecycle::{Environment, Event};
use crate::model::{EnvName, EnvSpec, EventKind, Places};
use crate::privilege::etc::Etc;
use crate::sys::trace::Trace;
use crate::sys::{files, groups};
use crate::wire::launch::Init;
use crate::wire::{pack, tell};

/// What a monitor is made of.
struct Parts {
    name: EnvName,
    places: Places,
    spec: EnvSpec,
    base: PathBuf,
    driver: Box<dyn Driver>,
    lock: File,
    environment: Environment,
    control: Control,
}

impl Monitor {
    /// Reads the spec, clears what an earlier monitor left, makes the cgroups, opens the socket.
    ///
    /// # Errors
    /// The step that failed, in words for the operator.
    pub(super) fn new(arguments: Arguments, init: Init, lock: File) -> Result<Self, String> {
        let mut trace = Trace::begin("monitor");
        let Arguments { name, places, group, sockets, .. } = arguments;
        let path = places.spec(&name);
        let spec = spec_file::read(&path)
            .map_err(|e| format!("could not read the spec \"{}\": {e}", path.display()))?;
        trace.did("read its spec");
        let driver = driver()?;
        let base = match group {
            // The runner moves this process there meanwhile.
            Some(group) => group,
            None => {
                let base = own_unit(driver.own_group().map_err(|e| e.to_string())?);
                driver.lead(&base, std::process::id()).map_err(|e| e.to_string())?;
                base
            }
        };
        clear(driver.as_ref(), &base)?;
        driver.prepare(&base, &spec.limits).map_err(|e| e.to_string())?;
        trace.did("make its groups");
        let memory_path = places.memory_of(&name);
        let (memory, said) = memory_file::read(&memory_path)
            .map_err(|e| format!("could not read \"{}\": {e}", memory_path.display()))?;
        let socket = places.monitor(&name).join("sock");
        let control = Control::listen(&socket)
            .map_err(|e| format!("could not listen at \"{}\": {e}", socket.display()))?;
        let environment = Environment::new(rules(&spec), memory.next_id);
        trace.did("read its counts, listen for orders");
        let parts = Parts { name, places, spec, base, driver, lock, environment, control };
        let mut monitor = Self::of(parts, init)?;
        trace.did("open its logs and its history");
        monitor.last_exit.clone_from(&memory.last_exit);
        monitor.write_event(None, EventKind::MonitorStarted);
        monitor.enter_wall();
        monitor.adopt(sockets, memory.was_running);
        trace.did("get behind the wall of ports");
        if let Some(text) = said {
            monitor.write_event(None, EventKind::Warning { text });
        }
        // What the app is refused in its first millisecond would be told to whom the port belongs.
        monitor.listen_to_refusals();
        trace.did("listen to refusals");
        monitor.driver.lead(&monitor.base, std::process::id()).map_err(|e| e.to_string())?;
        trace.did("be in its group");
        monitor.trace = trace;
        monitor.begin(&memory);
        Ok(monitor)
    }

    /// Tries what could keep this program from going on, and changes nothing.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn try_out(state: &State, places: &Places) -> Result<(), String> {
        driver()?;
        Logs::open(&places.logs(state.name()), groups::operators())?;
        state.try_wall(places)
    }

    /// Goes on where an older program in this process's place left off.
    ///
    /// # Errors
    /// The step that failed, in words for the operator.
    pub(super) fn resume(mut state: State, places: Places, init: Init) -> Result<Self, String> {
        let lock = state.take_lock().map_err(|e| format!("could not keep the lock: {e}"))?;
        let control = state.control.take().ok_or("no socket was handed over")?;
        let control =
            Control::resume(control).map_err(|e| format!("could not keep the socket: {e}"))?;
        let parts = Parts {
            name: state.name().clone(),
            places,
            spec: state.spec.clone(),
            base: state.base.clone(),
            driver: driver()?,
            lock,
            environment: state.environment.clone(),
            control,
        };
        let mut monitor = Self::of(parts, init)?;
        monitor.take_over(state)?;
        Ok(monitor)
    }

    /// A monitor that holds nothing yet.
    fn of(parts: Parts, init: Init) -> Result<Self, String> {
        let Parts { name, places, spec, base, driver, lock, environment, control } = parts;
        let signals = signals().map_err(|e| format!("could not take over the signals: {e}"))?;
        let logs = places.logs(&name);
        files::make_folder(&logs, 0o750)
            .map_err(|e| format!("could not make the folder \"{}\": {e}", logs.display()))?;
        // Operators read logs without root; a host without the group keeps them root's.
        let operators = groups::operators();
        let _ = std::os::unix::fs::chown(&logs, None, operators);
        if operators.is_some() {
            // A new file is theirs from its birth on: who follows opens it at once.
            let mode = std::fs::Permissions::from_mode(0o2750);
            let _ = std::fs::set_permissions(&logs, mode);
        }
        let mut logs = Logs::open(&logs, operators)?;
        logs.follow(&spec, &places);
        let (past, trouble) = Past::open(&places.history(&name));
        let etc = Etc { shared: places.etc_of_cages(), own: places.monitor(&name) };
        let starter =
            Starter::new(init, etc).map_err(|e| format!("could not open \"/dev/null\": {e}"))?;
        let mut monitor = Self {
            environment,
            starter,
            trace: Trace::begin("monitor"),
            logs,
            control,
            last_exit: None,
            name,
            places,
            spec,
            base,
            driver,
            lock,
            heir: None,
            running: BTreeMap::new(),
            rehearsal: None,
            samples: Samples::default(),
            past,
            telling: Telling::default(),
            ends: 0,
            pending: VecDeque::new(),
            garbage: Vec::new(),
            is_dirty: true,
            is_ending: false,
            tenant: None,
            holds: false,
            listeners: Listeners::default(),
            refusals: Refusals::default(),
            blocked: None,
            probe: None,
            first_probes: Vec::new(),
            told: Told::default(),
            spec_before: None,
            reloads: 0,
            reload_failed: None,
            told_of_no_refusals: false,
            busy_since: None,
            has_started: true,
            cron: None,
            changes: None,
            watch_failed: None,
            signals,
        };
        if let Some(text) = trouble {
            monitor.write_event(None, EventKind::Warning { text });
        }
        Ok(monitor)
    }

    /// The first start. After a kill of the monitor before, the instance that died with it counts as
    /// restarted, and its end is told.
    fn begin(&mut self, memory: &Memory) {
        for id in &memory.live {
            self.record_lost(*id);
        }
        let rest = memory.rest.as_ref().filter(|rest| {
            memory.was_running && !rest.boot.is_empty() && rest.boot == memory_file::this_boot()
        });
        if let Some(rest) = rest {
            // The kill of a monitor is no order to try again.
            self.environment.resume_rest(&rest.reason, rest.gave_up);
            self.environment.resume_count(memory.restarts);
            return;
        }
        self.step(&Event::Start);
        if memory.was_running {
            self.environment.resume_count(memory.restarts.saturating_add(1));
        }
    }
}

fn driver() -> Result<Box<dyn Driver>, String> {
    cgroup::detect_own().map_err(|e| e.to_string())
}

fn signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        mask.add(signal);
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// The unit's group, whether this process is still in it or already in its leaf.
fn own_unit(group: PathBuf) -> PathBuf {
    match group.parent() {
        Some(unit) if group.ends_with("monitor") => unit.to_owned(),
        _ => group,
    }
}

/// The cgroups beside the monitor's own.
pub(super) const GROUPS: [&str; 4] = ["app", "init", pack::GROUP, tell::GROUP];

/// Ends what a killed monitor left: its inits die with it, so this is for the rare rest.
fn clear(driver: &dyn Driver, base: &Path) -> Result<(), String> {
    for group in GROUPS.map(|group| base.join(group)) {
        driver.kill(&group).and_then(|()| driver.remove(&group)).map_err(|e| e.to_string())?;
    }
    Ok(())
}
