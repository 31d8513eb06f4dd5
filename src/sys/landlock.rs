//! Landlock's rule of TCP ports: what this process may bind, for good (landlock(7)).

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// `LANDLOCK_ACCESS_NET_BIND_TCP`.
const BIND_TCP: u64 = 1;
/// `LANDLOCK_RULE_NET_PORT`.
const RULE_NET_PORT: libc::c_int = 2;
/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;
/// The first version that knows ports.
const KNOWS_PORTS: libc::c_long = 4;

/// Lets this process and its children bind TCP `ports` and port 0, and no other. `false` where the kernel
/// cannot. The process must have `no_new_privs`.
///
/// # Errors
/// landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2).
pub fn bind_only(ports: &[u16]) -> io::Result<bool> {
    #[repr(C)]
    struct Ruleset {
        handled_files: u64,
        handled_ports: u64,
    }
    #[repr(C)]
    struct Rule {
        allowed: u64,
        port: u64,
    }
    let checked = |result: libc::c_long| {
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
    };
    // JUSTIFICATION: neither nix nor rustix has these calls, and the crate for them knows paths above all.
    // SAFETY: without attributes the call gives the version, and touches no memory.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0, VERSION)
    };
    if version < KNOWS_PORTS {
        return Ok(false);
    }
    let ruleset = Ruleset { handled_files: 0, handled_ports: BIND_TCP };
    // SAFETY: the kernel reads `ruleset`, of the size given, during the call only; the descriptor is new.
    let ruleset = unsafe {
        let made = libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size_of::<Ruleset>(),
            0,
        );
        OwnedFd::from_raw_fd(i32::try_from(checked(made)?).map_err(io::Error::other)?)
    };
    // 0 is any ephemeral port.
    for port in ports.iter().copied().chain([0]) {
        let rule = Rule { allowed: BIND_TCP, port: port.into() };
        // SAFETY: the kernel reads `rule` during the call only.
        checked(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset.as_raw_fd(),
                RULE_NET_PORT,
                &raw const rule,
                0,
            )
        })?;
    }
    // SAFETY: a call on numbers.
    checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    #[test]
    fn a_thread_binds_what_it_was_given_and_no_more() {
        // The rule holds for the thread that takes it.
        let bound = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("always allowed");
            let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let (own, other) = (first.local_addr().expect("bound").port(), 9);
            drop(first);
            if !super::bind_only(&[own]).expect("the kernel takes the rule") {
                println!("skipped: this kernel's Landlock knows no ports");
                return;
            }
            let errno = |port| TcpListener::bind(("127.0.0.1", port)).err()?.raw_os_error();
            assert_eq!(errno(own), None);
            assert_eq!(errno(0), None);
            assert_eq!(errno(other), Some(libc::EACCES));
        });
        bound.join().expect("its assertions hold");
    }
}
