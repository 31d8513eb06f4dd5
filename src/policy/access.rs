//! Who may ask the runner for what (DESIGN: trust).

/// A class of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Looking.
    See,
    /// Start, stop and restart of an environment that is known.
    Operate,
    /// What brings a path, a command or a variable, or changes what is known.
    Admin,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// User id of the process that connected.
    pub uid: u32,
    /// Whether it is in group `swrun`.
    pub is_member: bool,
    /// Whether it is in group `swrun-web`.
    pub is_watcher: bool,
    /// Whether its cgroup lies inside an environment; `None` when that could not be found out.
    pub is_caged: Option<bool>,
}

/// Whether `peer` may use verbs of `class` on environments whose users are `uids`.
///
/// Root may all; group `swrun` may see and operate, group `swrun-web` see; a deploy user may see and operate its own. A
/// peer inside a cage may nothing, whatever its uid, nor may one of whom it is not known.
#[must_use]
pub fn is_allowed(peer: &Peer, class: Class, uids: &[u32]) -> bool {
    if peer.is_caged != Some(false) {
        return false;
    }
    let is_own = !uids.is_empty() && uids.iter().all(|uid| *uid == peer.uid);
    match class {
        _ if peer.uid == 0 => true,
        Class::Admin => false,
        Class::See => peer.is_member || peer.is_watcher || is_own,
        Class::Operate => peer.is_member || is_own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_design_holds() {
        let peer =
            |uid, is_member| Peer { uid, is_member, is_watcher: false, is_caged: Some(false) };
        for (peer, own, other, admin) in [
            (peer(0, false), true, true, true),
            (peer(1000, true), true, true, false),
            (peer(1000, false), true, false, false),
        ] {
            assert_eq!(is_allowed(&peer, Class::Operate, &[1000]), own || peer.uid == 0);
            assert_eq!(is_allowed(&peer, Class::See, &[1001]), other);
            assert_eq!(is_allowed(&peer, Class::See, &[1000, 1001]), other);
            assert_eq!(is_allowed(&peer, Class::See, &[]), other);
            assert_eq!(is_allowed(&peer, Class::Admin, &[1000]), admin);
        }
    }

    #[test]
    fn who_watches_changes_nothing() {
        let peer = Peer { uid: 999, is_member: false, is_watcher: true, is_caged: Some(false) };
        assert!(is_allowed(&peer, Class::See, &[]) && is_allowed(&peer, Class::See, &[1000]));
        assert!(!is_allowed(&peer, Class::Operate, &[1000]));
        assert!(!is_allowed(&peer, Class::Admin, &[]));
    }

    #[test]
    fn a_caged_peer_may_nothing_not_even_as_root() {
        for is_caged in [Some(true), None] {
            let peer = Peer { uid: 0, is_member: true, is_watcher: true, is_caged };
            assert!(!is_allowed(&peer, Class::See, &[0]));
        }
    }
}
