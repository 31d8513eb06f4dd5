//! The environment's place behind the wall of ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::ports;
use super::run::Monitor;
use crate::model::{self, EventKind, Peer, PortLine, PortStatus, Protocol};
use crate::ports::{Tenant, Wall};
use crate::sys::clock;

/// What is left out of the wall of connections where a test says so.
const ANYWHERE: [Peer; 2] = [
    Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0, port: 0, is_loose: false },
    Peer { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0, port: 0, is_loose: false },
];

impl Monitor {
    /// Finds the wall that the runner built. Without it the app binds as everybody does, and the journal
    /// says so.
    pub(super) fn enter_wall(&mut self) {
        self.get_behind_wall(Wall::enter, true);
    }

    /// The same, for an environment that is behind it already: what runs is refused nothing meanwhile.
    pub(super) fn go_on_behind_wall(&mut self) {
        self.get_behind_wall(Wall::go_on, self.holds);
    }

    fn get_behind_wall(&mut self, how: fn(Wall, &Path) -> io::Result<Tenant>, is_held: bool) {
        let group = self.driver.folder(&self.base);
        match Wall::find(&self.places.wall()).and_then(|wall| how(wall, &group)) {
            Ok(tenant) => {
                self.tenant = Some(tenant);
                self.own_ports(is_held);
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
        // Those of a reload's old instances go on listening there; a new one is not to begin to.
        let before = self.spec_before.as_ref().map_or(&[][..], |spec| &spec.ports);
        let owned = tenant.own(&self.spec.ports, before, is_held);
        let network = &self.spec.network;
        let reached = match self.spec.sandbox.has(model::Wall::Connect) {
            true => tenant.reach(&network.peers, network.is_declared),
            false => tenant.reach(&ANYWHERE, false),
        };
        if self.holds && !is_held {
            let text = "this kernel cannot let the monitor answer listen(2): connections are refused while it restarts";
            self.write_event(None, EventKind::Warning { text: text.to_owned() });
        }
        self.holds = is_held;
        if let Err(error) = reached {
            let text = format!("what it may connect to could not be limited: {error}");
            self.write_event(None, EventKind::Warning { text });
        }
        if let Err(error) = owned {
            let text = format!("its ports could not be taken: {error}");
            self.write_event(None, EventKind::Warning { text });
        }
    }

    /// All about the ports, looked up now.
    pub(super) fn port_lines(&self) -> Vec<PortLine> {
        let status = self.report().status;
        let (states, states_by) = (status.ports, status.blocked_by);
        let line = |port: &PortStatus| {
            let is_tcp = port.proto == Protocol::Tcp;
            let queue = if is_tcp { self.listeners.queue(port.port) } else { None };
            let holders = if is_tcp { self.listeners_of(port.port) } else { Vec::new() };
            let by = states_by.as_ref().filter(|by| (by.port, by.proto) == (port.port, port.proto));
            let mut line = PortLine {
                pid: by.map_or(holders.first().copied(), |by| by.pid),
                program: match by {
                    Some(by) => by.program.clone(),
                    None => holders.first().and_then(|pid| program(*pid)),
                },
                processes: (!holders.is_empty()).then_some(holders.len()),
                queue: queue.map(|(waiting, _)| waiting),
                backlog: queue.map(|(_, most)| most),
                ..PortLine::idle(self.name.as_str(), port)
            };
            if let Some(tenant) = &self.tenant {
                tenant.wall().count(&mut line);
            }
            line
        };
        states.iter().map(line).collect()
    }

    /// The processes that have a socket open that listens on `port`.
    fn listeners_of(&self, port: u16) -> Vec<i32> {
        let mut pids = Vec::new();
        for (id, inode) in self.listeners.inodes(port) {
            let processes = self.driver.processes(&self.group_of(id)).unwrap_or_default();
            let has_it =
                |pid: &i32| ports::open_sockets(*pid).is_some_and(|open| open.contains(&inode));
            pids.extend(processes.into_iter().filter(has_it));
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    pub(super) fn listen_to_refusals(&mut self) {
        let Some(tenant) = &mut self.tenant else { return };
        if let Err(error) = tenant.listen_to_refusals()
            && !std::mem::replace(&mut self.told_of_no_refusals, true)
        {
            let text = format!("refused ports will not be told of: {error}");
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

/// The name of a process (proc_pid_comm(5)).
pub(super) fn program(pid: i32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}
