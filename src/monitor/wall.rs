//! The environment's place behind the wall of ports.

use super::run::Monitor;
use crate::model::{EventKind, Port};
use crate::ports::Wall;
use crate::sys::clock;

impl Monitor {
    /// Finds the wall that the runner built. Without it the app binds as everybody does, and the journal
    /// says so.
    pub(super) fn enter_wall(&mut self) {
        let group = self.driver.tree().join(self.base.strip_prefix("/").unwrap_or(&self.base));
        let entered = Wall::find(&self.places.wall()).and_then(|wall| wall.enter(&group));
        match entered {
            Ok(tenant) => {
                self.tenant = Some(tenant);
                self.own_ports(true);
            }
            Err(error) => {
                let text = format!("its ports are not guarded: no wall was found ({error})");
                self.write_event(None, EventKind::Warning { text });
            }
        }
    }

    /// The ports of the spec are the environment's from here on, and of others it has none.
    pub(super) fn own_ports(&mut self, is_held: bool) {
        let Some(tenant) = &mut self.tenant else { return };
        let (ports, held): (&[Port], bool) = (&self.spec.ports, is_held);
        let owned = tenant.own(ports, held);
        if self.holds && !is_held {
            let text = "this kernel cannot let the monitor answer listen(2): connections are refused while it restarts";
            self.write_event(None, EventKind::Warning { text: text.to_owned() });
        }
        self.holds = is_held;
        if let Err(error) = owned {
            let text = format!("its ports could not be taken: {error}");
            self.write_event(None, EventKind::Warning { text });
        }
    }

    pub(super) fn take_refusals(&mut self) {
        let now = clock::monotonic();
        let Some(tenant) = &mut self.tenant else { return };
        let events: Vec<EventKind> = tenant
            .refusals()
            .into_iter()
            .filter_map(|refusal| self.refusals.add(refusal, now))
            .collect();
        for event in events {
            self.write_event(None, event);
        }
    }
}
