//! From root to the deploy user, without a way back.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::model::Identity;

/// Becomes the user of `identity`: groups exactly as given (never inherited), no capability in any
/// of the five sets, no way to gain one (`no_new_privs`, securebits locked).
///
/// # Errors
/// The step that failed.
pub fn become_user(identity: &Identity) -> Result<(), (&'static str, io::Error)> {
    // The ids are checked when a profile is resolved; here once more, since what follows is not undone.
    if identity.uid == 0 || identity.gid == 0 || identity.groups.contains(&0) {
        let why =
            io::Error::new(io::ErrorKind::PermissionDenied, "user and groups must not be root's");
        return Err(("take the user's ids", why));
    }
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    forbid_new_privileges()?;
    drop_bounding_set()?;
    set_thread_groups(&groups).map_err(|e| ("set the supplementary groups", e.into()))?;
    set_thread_res_gid(gid, gid, gid).map_err(|e| ("set the group", e.into()))?;
    set_thread_res_uid(uid, uid, uid).map_err(|e| ("set the user", e.into()))?;
    drop_capabilities()
}

/// Does `what` with the user's effective ids, in a process that stays root's: for what the kernel notes of
/// the caller. Real and saved ids stay, so that no process of the user may signal or trace this one.
///
/// # Errors
/// setresuid(2), or what `what` fails with.
pub fn as_user<T>(identity: &Identity, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let (root, group) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(group, Gid::from_raw(identity.gid), group)?;
    let result = set_thread_res_uid(root, Uid::from_raw(identity.uid), root)
        .map_err(io::Error::from)
        .and_then(|()| what());
    set_thread_res_uid(root, root, root)?;
    set_thread_res_gid(group, group, group)?;
    result
}

/// Gives up every capability; a root process keeps its uid and nothing else.
///
/// # Errors
/// The step that failed.
pub fn keep_no_capability() -> Result<(), (&'static str, io::Error)> {
    forbid_new_privileges()?;
    drop_bounding_set()?;
    drop_capabilities()
}

/// No exec raises privileges from here on, and uid 0 means nothing by itself (capabilities(7)).
fn forbid_new_privileges() -> Result<(), (&'static str, io::Error)> {
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits).map_err(|e| ("lock the securebits", e.into()))?;
    set_no_new_privs(true).map_err(|e| ("set no_new_privs", e.into()))
}

fn drop_bounding_set() -> Result<(), (&'static str, io::Error)> {
    // To the kernel's own last one, so that a capability newer than this program goes too.
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) if number > 0 => break,
            Err(error) => return Err(("empty the bounding set", error.into())),
        }
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), (&'static str, io::Error)> {
    clear_ambient_capability_set().map_err(|e| ("clear the ambient capabilities", e.into()))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(|e| ("drop the capabilities", e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec_for_tests;

    #[test]
    fn an_identity_of_root_is_refused_before_anything_else() {
        let sound = spec_for_tests("shop").identity;
        for identity in [
            Identity { uid: 0, ..sound.clone() },
            Identity { gid: 0, ..sound.clone() },
            Identity { groups: vec![1, 0], ..sound },
        ] {
            let (step, error) = become_user(&identity).expect_err("it is root's");
            assert_eq!(step, "take the user's ids");
            assert_eq!(error.to_string(), "user and groups must not be root's");
        }
    }
}
