//! `swrun start --evict`: ends the process that has a port of an environment.

use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::entry::Entry;
use super::peer::is_caged;
use super::registry::Runner;
use crate::model::{BlockedBy, Port};
use crate::ports;
use crate::sys::readiness;
use crate::wire::keep::{Reply, Request};

/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// Ends process `pid`, if it is what blocks the environment and no environment's own.
///
/// # Errors
/// Why it is left alone, or could not be ended.
pub async fn evict(runner: &Rc<Runner>, entry: &Rc<Entry>, pid: i32) -> Result<String, String> {
    let by = blocked_by(entry).await?;
    if by.pid != Some(pid) {
        return Err(format!("is not blocked by pid {pid}: {by}"));
    }
    let process = Pid::from_raw(pid).ok_or("has no such process in its way")?;
    if pid == 1 {
        return Err(
            "is blocked by the host's PID 1, which is left alone: a socket unit of systemd's? \
             (\"systemctl list-sockets\")"
                .to_owned(),
        );
    }
    let pidfd = pidfd_open(process, PidfdFlags::empty())
        .map_err(|e| format!("could not get hold of pid {pid}: {e}"))?;
    // From here on the number means this process. Is it still the one that has the port?
    let port = Port { port: by.port, proto: by.proto };
    let holder = ports::holder(port).map_err(|e| format!("could not look at its port: {e}"))?;
    if holder.map(|holder| holder.pid) != Some(pid) {
        return Err(format!("is not blocked by pid {pid} any more"));
    }
    match is_caged(pid, runner) {
        Some(false) => {}
        Some(true) => {
            return Err(format!("is blocked by another environment (pid {pid}): stop that one"));
        }
        None => {
            return Err(format!("is blocked by pid {pid}, of which it is not known whose it is"));
        }
    }
    let failed = |e: rustix::io::Errno| format!("could not end pid {pid}: {e}");
    let ended = readiness::watch(pidfd).map_err(|e| format!("could not watch pid {pid}: {e}"))?;
    pidfd_send_signal(ended.get_ref(), Signal::TERM).map_err(failed)?;
    if tokio::time::timeout(GRACE, ended.readable()).await.is_err() {
        pidfd_send_signal(ended.get_ref(), Signal::KILL).map_err(failed)?;
        let _ = tokio::time::timeout(GRACE, ended.readable()).await;
    }
    let program = by.program.unwrap_or_default();
    tracing::info!("{}: evicted \"{}\", pid {pid}", entry.name, program.escape_default());
    Ok(format!("had \"{program}\", pid {pid}, ended"))
}

async fn blocked_by(entry: &Entry) -> Result<BlockedBy, String> {
    let none = || "is not blocked".to_owned();
    let link = entry.connection().ok_or_else(none)?;
    match link.ask(Request::Report).await {
        Some(Reply::Report(full)) => full.status.blocked_by.ok_or_else(none),
        _ => Err("has a monitor that does not answer".to_owned()),
    }
}
