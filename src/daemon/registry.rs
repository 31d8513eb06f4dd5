//! What the runner knows: environments, their profiles, what is wanted, who keeps them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, Semaphore};

use super::entry::Entry;
use super::keeper;
use super::launch::Layout;
use super::orders;
use super::profiles::{self, Known, Profiles};
use super::state::{self, Saved, State};
use super::wall::Walls;
use crate::cgroup::Driver;
use crate::model::{EnvName, Places, Wanted};
use crate::policy::releases::Releases;

/// The runner.
#[derive(Debug)]
pub struct Runner {
    /// Where everything lies.
    pub places: Places,
    /// How monitors are started.
    pub layout: Layout,
    /// The host's cgroups, to look at.
    pub driver: Box<dyn Driver>,
    /// Who owns which port.
    pub walls: Walls,
    /// When it started.
    pub since: Instant,
    state: RefCell<State>,
    environments: RefCell<BTreeMap<EnvName, Rc<Entry>>>,
    /// How many read files at once.
    pub reads: Arc<Semaphore>,
    killed: Notify,
    renewed: Notify,
    is_killing: Cell<bool>,
    was_killed: bool,
    was_damaged: bool,
}

/// How many read files for a caller at once.
const MOST_READS: usize = 4;

impl Runner {
    /// Reads the saved state and all profiles; nothing is started yet.
    ///
    /// # Errors
    /// The saved state is of a newer version or unreadable.
    pub fn new(
        places: Places,
        layout: Layout,
        driver: Box<dyn Driver>,
        walls: Walls,
    ) -> Result<Self, String> {
        let (state, said) = state::read(&places.runner_state())?;
        for text in &said {
            tracing::warn!("{text}");
        }
        if !said.is_empty() {
            // What was taken in the damaged one's place is the state from now on.
            let path = places.runner_state();
            state::write(&path, &state)
                .map_err(|e| format!("could not save the state in \"{}\": {e}", path.display()))?;
        }
        // "swrun kill" ended all: a runner started after it starts all that is wanted.
        let mark = places.run().join("killed");
        let was_killed = mark.exists();
        let _ = std::fs::remove_file(mark);
        let runner = Self {
            places,
            layout,
            driver,
            walls,
            since: Instant::now(),
            reads: Arc::new(Semaphore::new(MOST_READS)),
            state: RefCell::new(state),
            environments: RefCell::default(),
            killed: Notify::new(),
            renewed: Notify::new(),
            is_killing: Cell::new(false),
            was_killed,
            was_damaged: !said.is_empty(),
        };
        Ok(runner)
    }

    /// Finds the monitors that live, and starts what is wanted and lacks one.
    pub async fn begin(self: &Rc<Self>) {
        self.read_profiles();
        let living = self.living_monitors();
        if self.was_damaged {
            // What was saved last is lost: what runs was wanted, so nobody is to stop it.
            for name in &living {
                let saved = Saved::wanted(Wanted::Online);
                let changed = self.change(|state| {
                    state.environments.insert(name.clone(), saved);
                });
                if let Err(text) = changed {
                    tracing::error!("{name}: {text}");
                }
                if let Some(entry) = self.entry(name) {
                    entry.wanted.send_replace(Wanted::Online);
                }
            }
        }
        // Its profile has gone, or has an error: it runs on, or comes back with the last good one.
        let saved: Vec<EnvName> = self.state.borrow().environments.keys().cloned().collect();
        let has_spec = |name: &&EnvName| {
            self.saved(name).is_some_and(|saved| !saved.deleted) && self.places.spec(name).exists()
        };
        for name in living.iter().chain(saved.iter().filter(has_spec)) {
            if self.entry(name).is_none() {
                let wanted = self.saved(name).map_or(Wanted::Online, |saved| saved.wanted);
                self.add(name.clone(), wanted);
            }
        }
        // A boot: the profile as it is now counts, and where it has errors the last good one.
        let (running, resting): (Vec<_>, Vec<_>) =
            self.entries().into_iter().partition(|entry| living.contains(&entry.name));
        self.reserve_ports();
        for entry in &running {
            tokio::task::spawn_local(keeper::keep(Rc::clone(self), Rc::clone(entry)));
        }
        for entry in &resting {
            orders::end_resting(self, entry);
        }
        self.keep_resting(resting);
        for entry in running {
            tokio::task::spawn_local(orders::end_running(Rc::clone(self), entry));
        }
    }

    /// Starts the keepers of environments that nobody keeps yet, with the profiles as they were just read.
    fn keep_resting(self: &Rc<Self>, resting: Vec<Rc<Entry>>) {
        self.provide(&resting);
        // Each for itself: one whose user holds the reader of its .env up holds up no other.
        for entry in resting {
            let runner = Rc::clone(self);
            tokio::task::spawn_local(async move {
                runner.renew_spec_of_wanted(&entry).await;
                keeper::keep(runner, entry).await;
            });
        }
    }

    /// Writes the spec of an environment that its keeper is about to start, by its profile as it was just read.
    async fn renew_spec_of_wanted(&self, entry: &Rc<Entry>) {
        if *entry.wanted.borrow() != Wanted::Online {
            return;
        }
        let known = entry.known.borrow().clone();
        let written = match known.filter(|known| known.spec.is_some()) {
            Some(known) => orders::write_reserved(self, entry, known).await,
            // Its profile has an error, or has gone.
            None => orders::renew_spec(self, entry, None).await,
        };
        if let Err(text) = written {
            tracing::error!("{}: {text}", entry.name);
        }
    }

    /// Reads the profiles again; running environments are not touched, new ones start as at a boot.
    pub async fn reload(self: &Rc<Self>) {
        let before: Vec<EnvName> = self.environments.borrow().keys().cloned().collect();
        self.read_profiles();
        let new = self.entries().into_iter().filter(|entry| !before.contains(&entry.name));
        self.keep_resting(new.collect());
        tracing::info!("the profiles were read again: {}", self.summary());
    }

    fn read_profiles(&self) {
        let read = self.profiles();
        for problem in &read.problems {
            tracing::warn!("{problem}");
        }
        let entries = self.entries();
        for entry in &entries {
            *entry.known.borrow_mut() = None;
        }
        for known in read.known {
            let saved = self.saved(&known.name);
            if saved.as_ref().is_some_and(|saved| saved.deleted) {
                continue;
            }
            let never_seen = if known.autostart { Wanted::Online } else { Wanted::Stopped };
            let wanted = saved.map_or(never_seen, |saved| saved.wanted);
            let entry =
                self.entry(&known.name).unwrap_or_else(|| self.add(known.name.clone(), wanted));
            *entry.known.borrow_mut() = Some(known);
        }
    }

    /// All profiles as their files are now.
    pub fn profiles(&self) -> Profiles {
        profiles::read_all(&self.places, &self.state.borrow().auto_uids)
    }

    /// The errors that a profile would have if `file` held `text`.
    pub fn errors_of_new(&self, file: &Path, text: &str) -> Vec<String> {
        profiles::errors_of_new(&self.places, &self.state.borrow().auto_uids, file, text)
    }

    /// The profile of one environment as its file is now.
    ///
    /// # Errors
    /// Every error of its file.
    pub fn resolve(&self, name: &EnvName) -> Result<Known, String> {
        profiles::resolve(&self.places, &self.state.borrow().auto_uids, name)
    }

    /// The same of many, saved at once; before any of them is waited for, so that no other is given one of these.
    pub fn keep_numbers(&self, known: impl Iterator<Item = Known>) {
        let numbers: Vec<_> =
            known.filter_map(|known| Some((known.name, known.auto_uid?))).collect();
        let is_kept =
            |(name, uid): &(EnvName, u32)| self.state.borrow().auto_uids.get(name) == Some(uid);
        if numbers.iter().all(is_kept) {
            return;
        }
        let saved = self.change(|state| state.auto_uids.extend(numbers));
        if let Err(text) = saved {
            tracing::error!("{text}");
        }
    }

    /// A number that an environment was given stays its own.
    ///
    /// # Errors
    /// It could not be saved.
    pub fn keep_number(&self, known: &Known) -> Result<(), String> {
        let before = self.state.borrow().auto_uids.get(&known.name).copied();
        let Some(uid) = known.auto_uid.filter(|uid| before != Some(*uid)) else { return Ok(()) };
        self.change(|state| {
            state.auto_uids.insert(known.name.clone(), uid);
        })
    }

    /// Adds an environment; its keeper is started by the caller.
    pub fn add(&self, name: EnvName, wanted: Wanted) -> Rc<Entry> {
        let entry = Rc::new(Entry::new(name.clone(), wanted));
        self.environments.borrow_mut().insert(name, Rc::clone(&entry));
        entry
    }

    /// Adds an environment and its keeper.
    pub fn adopt(self: &Rc<Self>, name: EnvName, wanted: Wanted) -> Rc<Entry> {
        let entry = self.add(name, wanted);
        tokio::task::spawn_local(keeper::keep(Rc::clone(self), Rc::clone(&entry)));
        entry
    }

    /// Forgets an environment: its keeper ends as it sees that it is gone.
    pub fn forget(&self, name: &EnvName) {
        self.environments.borrow_mut().remove(name);
    }

    /// Whether `entry` is still known.
    pub fn knows(&self, entry: &Rc<Entry>) -> bool {
        self.entry(&entry.name).is_some_and(|known| Rc::ptr_eq(&known, entry))
    }

    /// All environments, by name.
    pub fn entries(&self) -> Vec<Rc<Entry>> {
        self.environments.borrow().values().cloned().collect()
    }

    /// One environment.
    pub fn entry(&self, name: &EnvName) -> Option<Rc<Entry>> {
        self.environments.borrow().get(name).cloned()
    }

    /// What was saved of an environment.
    pub fn saved(&self, name: &EnvName) -> Option<Saved> {
        self.state.borrow().environments.get(name).cloned()
    }

    /// Wants `wanted` of an environment, and saves it.
    ///
    /// # Errors
    /// It could not be saved; nothing is changed then.
    pub fn want(&self, entry: &Entry, wanted: Wanted) -> Result<(), String> {
        self.change_saved(entry, |saved| (saved.wanted, saved.deleted) = (wanted, false))?;
        entry.wanted.send_replace(wanted);
        Ok(())
    }

    /// Wants so many instances of an environment, or what its profile says, and saves it.
    ///
    /// # Errors
    /// It could not be saved; nothing is changed then.
    pub fn want_scale(&self, entry: &Entry, instances: Option<u32>) -> Result<(), String> {
        self.change_saved(entry, |saved| saved.scale = instances)
    }

    /// Saves what became of an environment's releases, and gives that.
    ///
    /// # Errors
    /// It could not be saved; nothing is changed then.
    pub fn change_releases(
        &self,
        entry: &Entry,
        change: impl FnOnce(&mut Releases),
    ) -> Result<Releases, String> {
        self.change_saved(entry, |saved| change(&mut saved.releases))?;
        Ok(self.releases(&entry.name))
    }

    /// Which releases of an environment were deployed.
    pub fn releases(&self, name: &EnvName) -> Releases {
        self.saved(name).map_or_else(Releases::default, |saved| saved.releases)
    }

    fn change_saved(&self, entry: &Entry, change: impl FnOnce(&mut Saved)) -> Result<(), String> {
        let wanted = *entry.wanted.borrow();
        self.change(|state| {
            let saved = state.environments.entry(entry.name.clone());
            change(saved.or_insert_with(|| Saved::wanted(wanted)));
        })
    }

    /// Saves that an environment is deleted (`keep_tombstone`: its profile file is still there).
    ///
    /// # Errors
    /// It could not be saved.
    pub fn want_deleted(&self, name: &EnvName, keep_tombstone: bool) -> Result<(), String> {
        self.change(|state| {
            if keep_tombstone {
                let saved = Saved { deleted: true, ..Saved::wanted(Wanted::Stopped) };
                state.environments.insert(name.clone(), saved);
            } else {
                state.environments.remove(name);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), String> {
        let mut state = self.state.borrow().clone();
        change(&mut state);
        let path = self.places.runner_state();
        state::write(&path, &state)
            .map_err(|e| format!("could not save the state in \"{}\": {e}", path.display()))?;
        self.state.replace(state);
        Ok(())
    }

    /// The names of environments with a monitor's folder; some of them may be dead.
    fn living_monitors(&self) -> Vec<EnvName> {
        let folders = std::fs::read_dir(self.places.monitors());
        let names = folders
            .into_iter()
            .flatten()
            .filter_map(|folder| EnvName::parse(folder.ok()?.file_name().to_str()?).ok());
        let is_living = |name: &EnvName| {
            let lock = crate::sys::files::lock(&self.places.monitor(name).join("lock"));
            matches!(lock, Ok(None))
        };
        names.filter(is_living).collect()
    }

    /// Environments that have a monitor.
    pub fn running(&self) -> Vec<String> {
        let entries = self.entries();
        entries.iter().filter(|e| e.seen().is_connected).map(|e| e.name.to_string()).collect()
    }

    /// One line for the log.
    pub fn summary(&self) -> String {
        let entries = self.entries();
        let wanted = entries.iter().filter(|e| *e.wanted.borrow() == Wanted::Online).count();
        format!(
            "{} environments, {wanted} wanted online, {} cgroups",
            entries.len(),
            self.driver.kind()
        )
    }

    /// Whether a profile file names the environment, with errors or without.
    pub fn is_claimed(&self, name: &EnvName) -> bool {
        profiles::is_claimed(&self.places, name)
    }

    /// Whether this runner is the first after `swrun kill`.
    pub fn was_killed(&self) -> bool {
        self.was_killed
    }

    /// Something could not be ended: the runner goes on.
    pub fn end_kill(&self) {
        self.is_killing.set(false);
    }

    /// No monitor is started any more.
    pub fn begin_kill(&self) {
        self.is_killing.set(true);
    }

    /// Whether all is being ended.
    pub fn is_killing(&self) -> bool {
        self.is_killing.get()
    }

    /// All is ended.
    pub fn finish_kill(&self) {
        let _ = std::fs::write(self.places.run().join("killed"), "");
        self.killed.notify_one();
    }

    /// Whether no order is under way, and every held socket is with a monitor too; waited for a while.
    pub async fn is_at_rest(&self) -> bool {
        let is_busy = |entry: &Rc<Entry>| {
            let is_only_copy = !entry.sockets.borrow().is_empty() && entry.connection().is_none();
            entry.order.try_lock().is_err() || entry.is_deploying.get() || is_only_copy
        };
        for _ in 0..100 {
            if !self.is_killing() && !self.entries().iter().any(is_busy) {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }

    /// Another program takes this one's place.
    pub fn renew(&self) {
        self.renewed.notify_one();
    }

    /// Returns once that is asked for.
    pub async fn renewed(&self) {
        self.renewed.notified().await;
    }

    /// Returns once `swrun kill` has ended everything.
    pub async fn killed(&self) {
        self.killed.notified().await;
    }
}
