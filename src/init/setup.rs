//! The cage, before the app exists: the root it sees and the host name it reads.

use crate::model::Wall;
use crate::privilege::mounts::{self, Cage};
use crate::wire::launch::{Failure, Launch};

/// Builds the cage round this process.
///
/// # Errors
/// The step that failed.
pub fn cage(launch: &Launch<'_>) -> Result<(), Failure> {
    let spec = launch.spec;
    // What is made here is for the app to see; the monitor's own mask would hide it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if !spec.sandbox.has(Wall::Root) {
        return mounts::stay().map_err(|(step, error)| Failure::new(step, &error));
    }
    let release = spec.release_folder();
    let cage = Cage {
        has_proc: spec.sandbox.has(Wall::Proc),
        base: &spec.base,
        uid: spec.identity.uid,
        writable: &spec.writable,
        read_only: &spec.read_only,
        views: launch.views,
        cwd: &spec.cwd,
        release: release.as_deref(),
        etc: launch.etc,
        tmpfs_bytes: spec.limits.memory_max,
    };
    mounts::enter(&cage).map_err(|(step, error)| Failure::new(step, &error))?;
    if spec.network.is_private {
        crate::sys::sockets::loopback_up().map_err(|e| Failure::new("set up loopback", &e))?;
    }
    rustix::system::sethostname(spec.name.as_str().as_bytes())
        .map_err(|e| Failure::new("set the host name", &e.into()))
}
