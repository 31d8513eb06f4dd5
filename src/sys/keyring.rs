//! The kernel's key rings (keyrings(7)).

use std::io;

/// Leaves the session key ring that was inherited, for a new and empty one: who holds a key ring may
/// read its keys, whatever its uid, and it is kept over fork, exec and a change of user.
///
/// # Errors
/// keyctl(2); a kernel without key rings has nothing to leave, which is no error.
pub fn leave_session() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // JUSTIFICATION: neither nix nor rustix has keyctl.
    // SAFETY: the operation takes a null name, and touches no memory.
    let result = unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    };
    match io::Error::last_os_error() {
        error if result == -1 && error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}
