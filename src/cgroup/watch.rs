//! The kernel's events of an instance: POLLPRI on `memory.events` (v2), eventfds (v1).
//!
//! Look once after making one: what happened before is in the counters, and is no new event. Drop it
//! when the group is removed: that is an event as well, on v2 one that never ceases (`POLLERR`).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::poll::PollFlags;
use rustix::event::{EventfdFlags, eventfd};

use super::parse;
use super::{CgroupError, Counters, Watch, files};

/// `memory.events` of an instance, kept open.
#[derive(Debug)]
pub struct Unified {
    events: File,
}

impl Unified {
    /// Watches the group in `folder`.
    ///
    /// # Errors
    /// `memory.events` could not be opened.
    pub fn open(folder: &Path) -> Result<Self, CgroupError> {
        let path = folder.join("memory.events");
        let events = File::open(&path)
            .map_err(|error| files::failed("watch the memory in", &path, error))?;
        Ok(Self { events })
    }
}

impl Watch for Unified {
    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        vec![(self.events.as_fd(), PollFlags::POLLPRI)]
    }

    fn look(&mut self) -> Counters {
        let text = files::read_again(&self.events).unwrap_or_default();
        let keys = ["oom", "oom_kill", "oom_group_kill", "high"];
        let [oom, oom_kill, oom_group_kill, high] = parse::numbers(&text, keys);
        Counters { oom, oom_kill, oom_group_kill, high }
    }
}

/// The oom and threshold events of a v1 memory group
/// (Linux, Documentation/admin-guide/cgroup-v1/memory.rst, sections 9 and 10).
#[derive(Debug)]
pub struct Legacy {
    oom_control: File,
    oom: Event,
    high: Option<Event>,
}

impl Legacy {
    /// Watches the group in `folder`, and the crossing of `high` bytes.
    ///
    /// # Errors
    /// An event could not be registered.
    pub fn open(folder: &Path, high: Option<u64>) -> Result<Self, CgroupError> {
        let path = folder.join("memory.oom_control");
        let oom_control = File::open(&path)
            .map_err(|error| files::failed("watch the memory in", &path, error))?;
        let oom = Event::register(folder, &oom_control, "")?;
        let high = high.map(|bytes| {
            let path = folder.join("memory.usage_in_bytes");
            let usage = File::open(&path)
                .map_err(|error| files::failed("watch the soft ceiling in", &path, error))?;
            Event::register(folder, &usage, &bytes.to_string())
        });
        Ok(Self { oom_control, oom, high: high.transpose()? })
    }
}

impl Watch for Legacy {
    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let events = [Some(&self.oom), self.high.as_ref()].into_iter().flatten();
        events.map(|event| (event.descriptor.as_fd(), PollFlags::POLLIN)).collect()
    }

    fn look(&mut self) -> Counters {
        // Removing a group signals all its events. So the events are read first, and count only
        // if the group is still there afterwards (reading it gives ENODEV otherwise).
        let (oom, high) = (self.oom.take(), self.high.as_ref().map(Event::take));
        let control = files::read_again(&self.oom_control);
        if control.is_ok() {
            self.oom.count += oom;
            if let (Some(event), Some(more)) = (&mut self.high, high) {
                event.count += more;
            }
        }
        Counters {
            oom: Some(self.oom.count),
            oom_kill: control.ok().and_then(|text| parse::number_of(&text, "oom_kill")),
            oom_group_kill: None,
            high: self.high.as_ref().map(|event| event.count),
        }
    }
}

/// A registered event, and how often it came.
#[derive(Debug)]
struct Event {
    descriptor: OwnedFd,
    count: u64,
}

impl Event {
    fn register(folder: &Path, file: &File, argument: &str) -> Result<Self, CgroupError> {
        let control = folder.join("cgroup.event_control");
        let failed = |error| files::failed("ask for memory events in", &control, error);
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let order = format!("{} {} {argument}", descriptor.as_raw_fd(), file.as_raw_fd());
        OpenOptions::new()
            .write(true)
            .open(&control)
            .and_then(|mut control| control.write_all(order.trim_end().as_bytes()))
            .map_err(failed)?;
        Ok(Self { descriptor, count: 0 })
    }

    /// How often it came since the last time.
    fn take(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.descriptor, &mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            // EAGAIN: it did not come.
            _ => 0,
        }
    }
}
