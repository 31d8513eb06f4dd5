//! Readiness: an instance is up once it listens on all TCP ports of its profile.
//!
//! The monitor answers listen(2) itself and knows (`listeners`). Where the kernel lacks what that needs, it
//! is looked for here, while an instance starts, in growing steps.

use std::collections::HashSet;
use std::time::Duration;

use procfs::net::TcpState;

use crate::model::{Port, Protocol};

/// The first pause between two looks.
pub const FIRST_LOOK: Duration = Duration::from_millis(4);

/// The longest.
pub const SLOWEST_LOOK: Duration = Duration::from_millis(250);

/// The ports that no process of `pids` listens on; `None` when the kernel's tables could not be read.
/// UDP has no listening, so it is taken as ready.
#[must_use]
pub fn missing(ports: &[Port], pids: &[i32]) -> Option<Vec<u16>> {
    let wanted: Vec<u16> =
        ports.iter().filter(|port| port.proto == Protocol::Tcp).map(|port| port.port).collect();
    if wanted.is_empty() {
        return Some(Vec::new());
    }
    // IPv6 may be off on the host.
    let sockets =
        procfs::net::tcp().ok()?.into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let listening: Vec<(u16, u64)> = sockets
        .filter(|socket| socket.state == TcpState::Listen)
        .filter(|socket| wanted.contains(&socket.local_address.port()))
        .map(|socket| (socket.local_address.port(), socket.inode))
        .collect();
    let own = if listening.is_empty() { HashSet::new() } else { sockets_of(pids) };
    let is_missing =
        |port: &u16| !listening.iter().any(|(p, inode)| p == port && own.contains(inode));
    Some(wanted.into_iter().filter(is_missing).collect())
}

/// The most descriptors of a process that are looked at: it may have any number, and a look at twenty thousand
/// takes a tenth of a second.
const MOST_DESCRIPTORS: usize = 4096;

/// The inodes of the sockets that a process has open; `None` where that cannot be seen, or it has too many.
/// Nothing at all is what the kernel shows of a process whose first thread has ended, though its others go on.
#[must_use]
pub fn open_sockets(pid: i32) -> Option<HashSet<u64>> {
    let mut count = 0;
    let mut inodes = HashSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        count += 1;
        if count > MOST_DESCRIPTORS {
            return None;
        }
        // One that is closed meanwhile is no socket any more.
        let Ok(target) = std::fs::read_link(entry.ok()?.path()) else { continue };
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:["));
        inodes.extend(inode.and_then(|text| text.strip_suffix(']')?.parse::<u64>().ok()));
    }
    (count > 0).then_some(inodes)
}

/// The inodes of the sockets that processes have open, of those that can be seen.
fn sockets_of(pids: &[i32]) -> HashSet<u64> {
    pids.iter().filter_map(|pid| open_sockets(*pid)).flatten().collect()
}
