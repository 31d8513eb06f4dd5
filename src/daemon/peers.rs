//! Whom the environments may reach: names looked up to addresses, and the addresses of this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::model::{Network, Peer, Target};

/// A name service that answers later holds up one order.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fills in `peers`. Where names are among them, or the resolver is needed to find any, it may ask the host's
/// resolvers.
///
/// # Errors
/// A name has no address, or nobody answers.
pub async fn look_up(network: &mut Network) -> Result<(), String> {
    let mut peers = Vec::new();
    for target in &network.allow {
        peers.extend(addresses(target).await?);
    }
    let is_named = |target: &Target| {
        let host = target.host.as_deref().unwrap_or_default();
        target.host.is_none() || (host != "localhost" && host.parse::<IpAddr>().is_err())
    };
    if network.allow.iter().any(is_named) {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let to_peer = |address| Peer { address, prefix: bits(address), port: 53, is_loose: true };
        peers.extend(resolvers(&text).map(to_peer));
    }
    peers.sort_unstable();
    peers.dedup();
    network.peers = peers;
    Ok(())
}

async fn addresses(target: &Target) -> Result<Vec<Peer>, String> {
    let port = target.port;
    let peer = |address: IpAddr| Peer {
        address,
        prefix: target.prefix.unwrap_or_else(|| bits(address)),
        port,
        is_loose: target.prefix == Some(0),
    };
    let Some(host) = &target.host else {
        let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        return Ok(any.map(|address| Peer { address, prefix: 0, port, is_loose: true }).into());
    };
    if host == "localhost" {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(peer).into());
    }
    if let Ok(address) = host.parse() {
        return Ok(vec![peer(address)]);
    }
    let failed = |why: String| {
        format!(
            "cannot be started: \"allow-connect\" in [network] names {host}, of which no address was found: {why}"
        )
    };
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), port))).await {
        Ok(Ok(found)) => Ok(found.map(|at| Peer { is_loose: true, ..peer(at.ip()) }).collect()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The name servers of a resolv.conf(5).
fn resolvers(text: &str) -> impl Iterator<Item = IpAddr> {
    let address = |line: &str| {
        let word = line.strip_prefix("nameserver")?.split_whitespace().next()?;
        // The scope of a link-local address is the interface's name.
        word.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(address)
}

/// The addresses of this host's interfaces, and those that lead to all of a network.
pub fn of_this_host() -> Vec<IpAddr> {
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let address = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let both = |interface: nix::ifaddrs::InterfaceAddress| {
        interface.address.into_iter().chain(interface.broadcast)
    };
    found.flat_map(both).filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(allow: &[(Option<&str>, Option<u8>, u16)]) -> Network {
        let target = |(host, prefix, port): &(Option<&str>, Option<u8>, u16)| Target {
            host: host.map(str::to_owned),
            prefix: *prefix,
            port: *port,
        };
        Network { allow: allow.iter().map(target).collect(), ..Network::default() }
    }

    #[test]
    fn what_is_written_becomes_addresses() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut some = network(&[
            (Some("localhost"), None, 5432),
            (Some("10.0.0.0"), Some(8), 443),
            (Some("2001:db8::1"), None, 53),
        ]);
        runtime.block_on(look_up(&mut some)).expect("no name is to be looked up");
        let shown: Vec<String> =
            some.peers.iter().map(|p| format!("{}/{}:{}", p.address, p.prefix, p.port)).collect();
        assert_eq!(
            shown,
            ["10.0.0.0/8:443", "127.0.0.1/32:5432", "::1/128:5432", "2001:db8::1/128:53"]
        );
        let mut unknown = network(&[(Some("no-such-name.invalid"), None, 80)]);
        let why = runtime.block_on(look_up(&mut unknown)).expect_err("reserved (RFC 2606)");
        assert!(why.contains("no-such-name.invalid"), "{why}");
        let text =
            "search a\nnameserver 192.0.2.1\n# nameserver 1.1.1.1\nnameserver fe80::1%eth0\n";
        let found: Vec<String> = resolvers(text).map(|address| address.to_string()).collect();
        assert_eq!(found, ["192.0.2.1", "fe80::1"]);
    }
}
