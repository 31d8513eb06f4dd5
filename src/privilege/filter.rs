//! The seccomp filter of an app: listen(2) is answered by the monitor, and what would get round that is
//! refused.
//!
//! Nothing is decided by what a pointer leads to, which could change; the monitor looks at the socket
//! itself. Source: seccomp(2); Linux, include/uapi/linux/seccomp.h, arch/x86/entry/syscalls/.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys::notify::{self, Filter};

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386`.
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// Bit of the number of a call in the x32 form.
const X32: u32 = 0x4000_0000;

const LISTEN: u32 = libc::SYS_listen as u32;
/// It could listen and bind by itself (since Linux 6.11), past any filter.
const IO_URING_SETUP: u32 = libc::SYS_io_uring_setup as u32;

/// The numbers for 32-bit programs.
mod i386 {
    pub const SOCKETCALL: u32 = 102;
    pub const LISTEN: u32 = 363;
    /// The call of socketcall(2).
    pub const SYS_LISTEN: u32 = 4;
}

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Installs it; gives the descriptor on which the calls of listen(2) come.
///
/// # Errors
/// seccomp(2).
pub fn install() -> io::Result<OwnedFd> {
    notify::install(&filter())
}

fn filter() -> [Filter; 19] {
    let load = |offset| instruction(0x20, 0, 0, offset);
    let if_equal = |value, yes, no| instruction(0x15, yes, no, value);
    let end = |verdict| instruction(0x06, 0, 0, verdict);
    let fail = |errno: i32| end(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned());
    [
        load(ARCHITECTURE),
        if_equal(X86_64, 0, 6),
        load(NUMBER),
        if_equal(LISTEN, 11, 0),
        if_equal(IO_URING_SETUP, 12, 0),
        if_equal(X32 | LISTEN, 10, 0),
        if_equal(X32 | IO_URING_SETUP, 10, 11),
        end(libc::SECCOMP_RET_ALLOW),
        // 8: another architecture; a 32-bit program has no listener of ours, so it may not listen.
        if_equal(I386, 0, 9),
        load(NUMBER),
        if_equal(i386::LISTEN, 5, 0),
        if_equal(IO_URING_SETUP, 5, 0),
        if_equal(i386::SOCKETCALL, 0, 5),
        load(FIRST_ARGUMENT),
        if_equal(i386::SYS_LISTEN, 1, 3),
        end(libc::SECCOMP_RET_USER_NOTIF),
        fail(libc::EACCES),
        fail(libc::ENOSYS),
        end(libc::SECCOMP_RET_ALLOW),
    ]
}

const fn instruction(code: u16, yes: u8, no: u8, value: u32) -> Filter {
    Filter { code, jt: yes, jf: no, k: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call.
    fn verdict(architecture: u32, number: u32, argument: u32) -> u32 {
        let filter = filter();
        let (mut at, mut value) = (0, 0);
        loop {
            let Filter { code, jt, jf, k } = filter[at];
            at += 1;
            match code {
                0x20 => {
                    value = match k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => argument,
                        _ => panic!("not a field: {k}"),
                    }
                }
                0x15 => at += usize::from(if value == k { jt } else { jf }),
                0x06 => return k,
                _ => panic!("not an instruction: {code}"),
            }
        }
    }

    #[test]
    fn listen_is_the_monitors_and_nothing_gets_round_it() {
        let allow = libc::SECCOMP_RET_ALLOW;
        let fail = |errno: i32| libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
        for (architecture, number, argument, wanted) in [
            (X86_64, LISTEN, 7, libc::SECCOMP_RET_USER_NOTIF),
            (X86_64, IO_URING_SETUP, 0, fail(libc::ENOSYS)),
            (X86_64, X32 | LISTEN, 7, fail(libc::EACCES)),
            (X86_64, X32 | IO_URING_SETUP, 0, fail(libc::ENOSYS)),
            (X86_64, libc::SYS_bind as u32, 7, allow),
            (X86_64, libc::SYS_read as u32, 4, allow),
            (X86_64, X32, 0, allow),
            // What these numbers are for 32-bit programs is something else for 64-bit ones.
            (X86_64, i386::SOCKETCALL, i386::SYS_LISTEN, allow),
            (X86_64, i386::LISTEN, 0, allow),
            (I386, i386::LISTEN, 7, fail(libc::EACCES)),
            (I386, i386::SOCKETCALL, i386::SYS_LISTEN, fail(libc::EACCES)),
            (I386, i386::SOCKETCALL, 2, allow),
            (I386, IO_URING_SETUP, 0, fail(libc::ENOSYS)),
            (I386, LISTEN, 0, allow),
            (1, LISTEN, 0, allow),
        ] {
            assert_eq!(
                verdict(architecture, number, argument),
                wanted,
                "{architecture:x} {number}"
            );
        }
    }
}
