//! What is answered to a listen(2) of an app, from what the kernel says of the socket.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What the kernel says of a socket that is to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Where it is bound; `None` for what is neither IPv4 nor IPv6. Port 0: not bound.
    pub address: Option<SocketAddr>,
    /// An IPv6 socket that takes no IPv4 connections.
    pub is_v6_only: bool,
    /// The kernel's own number of the socket.
    pub cookie: u64,
    /// The app itself asked for SO_REUSEPORT.
    pub shares: bool,
}

/// A socket that the monitor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What was known of it when it began to listen.
    pub facts: Facts,
    /// Whether the instance that asks now has it open; not the one of an instance that is gone.
    pub is_of_caller: bool,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It fails with this errno.
    Refuse(i32),
    /// It listens, and that is all: an ephemeral port, or no port at all.
    Listen,
    /// It listens, and is held from now on.
    Hold,
}

/// Decides. `owns` is whether a TCP port is the environment's.
#[must_use]
pub fn decide(facts: &Facts, held: &[Held], owns: impl Fn(u16) -> bool) -> Answer {
    let Some(address) = facts.address else { return Answer::Listen };
    if address.port() == 0 {
        // The kernel would bind it to a port of its choice, past everything that was checked.
        return Answer::Refuse(libc::EACCES);
    }
    if !owns(address.port()) {
        return Answer::Listen;
    }
    // Without the wall's SO_REUSEPORT the kernel would have refused the second one.
    let is_in_the_way = held.iter().any(|other| {
        other.is_of_caller
            && other.facts.cookie != facts.cookie
            && overlap(facts, &other.facts)
            && !(facts.shares && other.facts.shares)
    });
    if is_in_the_way { Answer::Refuse(libc::EADDRINUSE) } else { Answer::Hold }
}

/// Whether both are bound to the very same place: the queue of the older one can go to the newer.
#[must_use]
pub fn is_same_place(one: &Facts, other: &Facts) -> bool {
    one.address == other.address && one.is_v6_only == other.is_v6_only
}

/// Whether a connection could be meant for either.
fn overlap(one: &Facts, other: &Facts) -> bool {
    let (Some(a), Some(b)) = (one.address, other.address) else { return false };
    if a.port() != b.port() {
        return false;
    }
    let takes_all_v4 =
        |facts: &Facts, ip: IpAddr| ip.is_ipv6() && ip.is_unspecified() && !facts.is_v6_only;
    match (a.ip(), b.ip()) {
        (x, y) if x.is_ipv4() == y.is_ipv4() => x == y || x.is_unspecified() || y.is_unspecified(),
        (x, y) => takes_all_v4(one, x) || takes_all_v4(other, y),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(address: &str, cookie: u64) -> Facts {
        let address = Some(address.parse().expect("an address"));
        Facts { address, is_v6_only: false, cookie, shares: false }
    }

    fn of_caller(facts: Facts) -> Held {
        Held { facts, is_of_caller: true }
    }

    const OWNS: fn(u16) -> bool = |port| port == 3002;

    #[test]
    fn what_is_bound_decides() {
        let unix = Facts { address: None, ..facts("0.0.0.0:0", 1) };
        assert_eq!(decide(&unix, &[], OWNS), Answer::Listen);
        assert_eq!(decide(&facts("0.0.0.0:0", 1), &[], OWNS), Answer::Refuse(libc::EACCES));
        assert_eq!(decide(&facts("[::]:0", 1), &[], OWNS), Answer::Refuse(libc::EACCES));
        assert_eq!(decide(&facts("127.0.0.1:45000", 1), &[], OWNS), Answer::Listen);
        assert_eq!(decide(&facts("[::]:3002", 1), &[], OWNS), Answer::Hold);
    }

    #[test]
    fn a_second_listener_of_an_instance_is_refused_where_the_kernel_would_have() {
        let in_use = Answer::Refuse(libc::EADDRINUSE);
        for (first, second, wanted) in [
            ("0.0.0.0:3002", "0.0.0.0:3002", in_use),
            ("0.0.0.0:3002", "127.0.0.1:3002", in_use),
            ("127.0.0.1:3002", "127.0.0.2:3002", Answer::Hold),
            ("[::]:3002", "0.0.0.0:3002", in_use),
            ("[::1]:3002", "127.0.0.1:3002", Answer::Hold),
            ("[::]:3002", "[::1]:3002", in_use),
        ] {
            let held = [of_caller(facts(first, 1))];
            assert_eq!(decide(&facts(second, 2), &held, OWNS), wanted, "{first} {second}");
            // The same socket once more, with another backlog.
            assert_eq!(decide(&facts(first, 1), &held, OWNS), Answer::Hold);
            // One of an instance that is gone, or of both's own wish.
            let gone = [Held { is_of_caller: false, ..held[0] }];
            assert_eq!(decide(&facts(second, 2), &gone, OWNS), Answer::Hold);
            let share = |facts| Facts { shares: true, ..facts };
            let held = [of_caller(share(facts(first, 1)))];
            assert_eq!(decide(&share(facts(second, 2)), &held, OWNS), Answer::Hold);
            assert_eq!(decide(&facts(second, 2), &held, OWNS), wanted);
        }
        let v6_only = |facts| Facts { is_v6_only: true, ..facts };
        let held = [of_caller(v6_only(facts("[::]:3002", 1)))];
        assert_eq!(decide(&facts("0.0.0.0:3002", 2), &held, OWNS), Answer::Hold);
    }
}
