//! The cage, before the app exists: the root it sees and the host name it reads.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use crate::privilege::mounts::{self, Cage, Views};
use crate::sys::channel;
use crate::wire::launch::{Failure, Group, Launch};

/// The instance's cgroup, as the app's process enters it.
#[derive(Debug)]
pub struct Handed {
    /// Its folder in the v2 tree.
    pub group: OwnedFd,
    /// The `tasks` files that the app writes itself into.
    pub joins: Vec<OwnedFd>,
}

/// Builds the cage round this process; the monitor makes the instance's cgroup meanwhile and sends it.
///
/// # Errors
/// The step that failed.
pub fn cage(launch: &Launch<'_>, report: &OwnedFd) -> Result<Handed, Failure> {
    let spec = launch.spec;
    // What is made here is for the app to see; the monitor's own mask would hide it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let cage = Cage {
        base: &spec.base,
        uid: spec.identity.uid,
        writable: &spec.writable,
        read_only: &spec.read_only,
        tmpfs_bytes: spec.limits.memory_max,
    };
    let handed = mounts::enter(&cage, || {
        receive(report).map_err(|e| ("take the cgroup from the monitor".to_owned(), e))
    })
    .map_err(|(step, error)| Failure::new(step, &error))?;
    rustix::system::sethostname(spec.name.as_str().as_bytes())
        .map_err(|e| Failure::new("set the host name", &e.into()))?;
    Ok(handed)
}

fn receive(report: &OwnedFd) -> io::Result<(Views, Handed)> {
    let message = channel::receive(report.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let Group { views } = serde_json::from_slice(&message.bytes)?;
    let mut descriptors = message.descriptors.into_iter();
    let group = descriptors.next().ok_or(io::ErrorKind::InvalidData)?;
    Ok((views, Handed { group, joins: descriptors.collect() }))
}
