//! Who is at the other end of the control socket.

use std::ffi::CString;
use std::path::Path;

use nix::unistd::{Gid, Uid, User};
use tokio::net::UnixStream;

use super::registry::Runner;
use crate::policy::access::Peer;
use crate::sys::groups;

/// The peer of a connection, by the kernel's word (SO_PEERCRED).
#[must_use]
pub fn of(stream: &UnixStream, runner: &Runner) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    let uid = credentials.uid();
    let is_caged = credentials.pid().and_then(|pid| is_caged(pid, runner));
    let is_in = |group| is_member(uid, credentials.gid(), group);
    let is_member = uid == 0 || is_in(groups::OPERATORS);
    Some(Peer { uid, is_member, is_watcher: is_member || is_in(groups::WATCHERS), is_caged })
}

fn is_member(uid: u32, gid: u32, group: &str) -> bool {
    let Some(group) = groups::number(group) else { return false };
    if gid == group {
        return true;
    }
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    nix::unistd::getgrouplist(&name, user.gid)
        .is_ok_and(|groups| groups.contains(&Gid::from_raw(group)))
}

/// Whether a process lives in the app's part of an environment's cgroup. The socket is not visible in
/// a cage; this is the second wall, for a descriptor that found its way in.
pub fn is_caged(pid: i32, runner: &Runner) -> Option<bool> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // All of them have it in their path; most callers do not, and are not held against each environment.
    if !Path::new(group).iter().any(|part| part == "app") {
        return Some(false);
    }
    let cages = runner.entries().into_iter().flat_map(|entry| {
        // Where it is by this layout, and where its monitor said it is.
        let said = entry.group.borrow().clone();
        [Some(runner.layout.group(&entry.name)), said].into_iter().flatten()
    });
    let mut cages = cages.map(|group| group.join("app"));
    let group = Path::new(group);
    // Also that of a command that runs beside a stopped environment, or in a scope (`once`).
    let base = runner.layout.base();
    let beneath = group.strip_prefix(base.strip_prefix("/").unwrap_or(base)).ok();
    let is_app = beneath.and_then(|path| path.components().nth(1));
    Some(
        is_app.is_some_and(|part| part.as_os_str() == "app")
            || cages.any(|cage| group.starts_with(cage)),
    )
}
