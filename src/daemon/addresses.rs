//! The addresses of this host, told to the wall as they come and go: a new one must not lead around it to the
//! ports of other environments (rtnetlink(7), `RTMGRP_IPV4_IFADDR`).

use std::io;
use std::rc::Rc;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::registry::Runner;
use crate::sys::readiness;

/// `RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`.
const CHANGES: u32 = 0x10 | 0x100;

/// Follows them as long as the runner lives.
pub async fn follow(runner: Rc<Runner>) {
    if let Err(error) = listen(&runner).await {
        tracing::warn!("changes of this host's addresses are not followed: {error}");
    }
}

async fn listen(runner: &Runner) -> io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, CHANGES))?;
    let socket = readiness::watch(socket)?;
    loop {
        let mut guard = socket.readable().await?;
        let mut message = [0; 8192];
        // What it says is looked up anew, so one that was lost (`ENOBUFS`) is none.
        while recv(socket.get_ref(), &mut message[..], RecvFlags::empty())
            .is_ok_and(|(count, _)| count > 0)
        {}
        guard.clear_ready();
        runner.mark_places();
    }
}
