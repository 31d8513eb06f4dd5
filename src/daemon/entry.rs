//! One environment as the runner knows it, and what it sees of its monitor.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use tokio::sync::{Mutex, Notify, watch};

use super::glance::Glance;
use super::link::Link;
use super::owners::SpecPorts;
use super::profiles::Known;
use crate::model::{EnvName, Wanted};
use crate::sys::trace::Trace;
use crate::wire::keep::{Brief, Full};

/// What is seen of a monitor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Whether a monitor is connected.
    pub is_connected: bool,
    /// Whether one is on its way up.
    pub is_launching: bool,
    /// "systemctl stop" ended its unit: it is wanted, and stays down until an order or a boot.
    pub is_unit_stopped: bool,
    /// What it said last; kept after it went.
    pub brief: Option<Brief>,
    /// Why no monitor could be started.
    pub trouble: Option<String>,
}

/// One environment.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: EnvName,
    /// Its profile as it is in its file now.
    pub known: RefCell<Option<Known>>,
    /// What its file said at the last look.
    pub glance: RefCell<Option<Glance>>,
    /// The ports of its spec, as it is written.
    pub spec_ports: RefCell<Option<SpecPorts>>,
    /// What is wanted; the keeper follows it.
    pub wanted: watch::Sender<Wanted>,
    /// What is seen of its monitor.
    pub view: watch::Sender<View>,
    /// The connection to its monitor.
    pub link: RefCell<Option<Link>>,
    /// All that its monitor said of it last, unasked.
    pub standing: RefCell<Option<Box<Full>>>,
    /// When its monitor was asked last for a status, and whether it answered.
    pub asked: Cell<Option<Instant>>,
    /// See `asked`.
    pub is_mute: Cell<bool>,
    /// Its group below the hierarchies' root, once a monitor said it.
    pub group: RefCell<Option<PathBuf>>,
    /// Copies of the listening sockets that its monitor holds: the next monitor gets them.
    pub sockets: RefCell<BTreeMap<u64, OwnedFd>>,
    /// One order at a time.
    pub order: Mutex<()>,
    /// How many wait for their turn.
    pub waiting: Cell<u32>,
    /// How many of them end it.
    pub ending: Cell<u32>,
    /// Told to those who wait for it to come up, when it is ordered to stop.
    pub cancel: Notify,
    /// Whether a release of it is being deployed.
    pub is_deploying: Cell<bool>,
    /// Where the time of the last order went.
    pub order_trace: RefCell<Trace>,
    /// Where that went until its monitor answered.
    pub launch_trace: RefCell<Trace>,
}

impl Entry {
    /// One of which nothing is seen yet.
    pub fn new(name: EnvName, wanted: Wanted) -> Self {
        Self {
            name,
            known: RefCell::new(None),
            glance: RefCell::new(None),
            spec_ports: RefCell::new(None),
            wanted: watch::Sender::new(wanted),
            view: watch::Sender::new(View::default()),
            link: RefCell::new(None),
            standing: RefCell::new(None),
            asked: Cell::new(None),
            is_mute: Cell::new(false),
            group: RefCell::new(None),
            sockets: RefCell::default(),
            order: Mutex::new(()),
            waiting: Cell::new(0),
            ending: Cell::new(0),
            cancel: Notify::new(),
            is_deploying: Cell::new(false),
            order_trace: RefCell::new(Trace::begin("runner")),
            launch_trace: RefCell::new(Trace::begin("runner")),
        }
    }

    /// An order begins: what it takes is noted from here on.
    pub fn begin_trace(&self) {
        *self.order_trace.borrow_mut() = Trace::begin("runner");
    }

    /// The order has come to here.
    pub fn did(&self, step: &'static str) {
        self.order_trace.borrow_mut().did(step);
    }

    /// What is seen of its monitor now.
    pub fn seen(&self) -> View {
        self.view.borrow().clone()
    }

    /// A copy of the connection, if there is one.
    pub fn connection(&self) -> Option<Link> {
        self.link.borrow().clone()
    }
}
