//! Whose a port is, and the profiles that an order of many reads once.

use std::rc::Rc;

use super::entry::Entry;
use super::glance::Stamp;
use super::profiles::Profiles;
use super::registry::Runner;
use crate::formats::spec_file;
use crate::model::{EnvName, Port};

/// The ports of a spec, and which file that was: each of hundreds of orders asks for those of all others.
#[derive(Debug)]
pub struct SpecPorts {
    stamp: Stamp,
    ports: Vec<Port>,
}

impl Runner {
    /// The environment other than `name` that has `port`, by its profile or by what it runs with.
    pub fn owner_of(&self, port: Port, name: &EnvName) -> Option<EnvName> {
        let has_port = |entry: &Rc<Entry>| {
            let known = entry.known.borrow();
            let spec = known.as_ref().and_then(|known| known.spec.as_ref());
            spec.is_some_and(|spec| spec.ports.contains(&port))
                || self.ports_of_spec(entry).contains(&port)
        };
        let others = self.entries().into_iter().filter(|entry| entry.name != *name);
        others.filter(has_port).map(|entry| entry.name.clone()).next()
    }

    /// The environment other than `name` that runs with `port`, whatever its profile says now.
    pub fn runs_with(&self, port: Port, name: &EnvName) -> Option<EnvName> {
        let runs_with = |entry: &Rc<Entry>| {
            entry.view.borrow().is_connected && self.ports_of_spec(entry).contains(&port)
        };
        let mut others = self.entries().into_iter().filter(|entry| entry.name != *name);
        others.find(runs_with).map(|entry| entry.name.clone())
    }

    /// The ports of the spec as it is written; none of one that is not there or not understood.
    pub fn ports_of_spec(&self, entry: &Entry) -> Vec<Port> {
        let path = self.places.spec(&entry.name);
        // Each is a new file, put in the place of the one before.
        let Ok(found) = std::fs::symlink_metadata(&path) else { return Vec::new() };
        let stamp = Stamp::of(&found);
        if let Some(kept) = entry.spec_ports.borrow().as_ref().filter(|kept| kept.stamp == stamp) {
            return kept.ports.clone();
        }
        let ports = spec_file::read(&path).map(|spec| spec.ports).unwrap_or_default();
        *entry.spec_ports.borrow_mut() = Some(SpecPorts { stamp, ports: ports.clone() });
        ports
    }

    /// Reads all profiles, for an order to these environments; gives them their numbers and reserves their ports.
    pub fn read_for(&self, entries: &[Rc<Entry>]) -> Profiles {
        let read = self.profiles();
        for entry in entries {
            if let Ok(known) = read.resolve(&self.places, &entry.name) {
                *entry.known.borrow_mut() = Some(known);
            }
        }
        self.provide(entries);
        read
    }

    /// Gives environments whose profiles were just read their numbers, and reserves their ports.
    pub fn provide(&self, entries: &[Rc<Entry>]) {
        self.keep_numbers(entries.iter().filter_map(|entry| entry.known.borrow().clone()));
        self.reserve_ports();
    }
}
