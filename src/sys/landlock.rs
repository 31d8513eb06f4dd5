//! Which version of Landlock this kernel has (landlock(7)).

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;

/// The version of its interface; `None` where it is not built in, or not turned on.
#[must_use]
pub fn version() -> Option<u32> {
    // JUSTIFICATION: the crate for Landlock keeps the version to itself.
    // SAFETY: without attributes the call gives the version, and touches no memory.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION)
    };
    u32::try_from(version).ok().filter(|version| *version > 0)
}
