//! The seccomp filter of an app, made of the list in `calls`: what is refused is told to the monitor, which
//! also makes the app's calls of listen(2).
//!
//! Nothing is decided by what a pointer leads to, which could change. Source: seccomp(2); Linux,
//! include/uapi/linux/seccomp.h.

use std::io;
use std::os::fd::OwnedFd;

use syscalls::Sysno;

use super::calls::{self, Verdict};
use crate::sys::notify::{self, Filter};

/// `AUDIT_ARCH_X86_64`: programs of another architecture end with SIGSYS.
const X86_64: u32 = 0xc000_003e;

/// The lowest number in the x32 form, which servers do not use.
const X32: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `__O_TMPFILE`, without the bit of O_DIRECTORY.
const TMPFILE: u32 = 0o20_000_000;

/// Protocols of internet sockets: any, TCP, UDP, MPTCP. Others load modules into the kernel, and what is sent by
/// ICMP no program of ours is asked about.
const PROTOCOLS: [u32; 4] = [0, 6, 17, 262];

/// What differs between apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules<'a> {
    /// The monitor makes its calls of listen(2).
    pub listens: bool,
    /// Calls that its profile allows, whatever their arguments.
    pub allowed: &'a [Sysno],
}

/// Installs it; gives the descriptor on which the monitor hears of calls, if the kernel has such.
///
/// # Errors
/// seccomp(2).
pub fn install(rules: Rules<'_>) -> io::Result<Option<OwnedFd>> {
    match notify::install(&filter(rules, true)) {
        Ok(calls) => Ok(Some(calls)),
        // Before Linux 5.0, or where whoever started this runner listens already.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBUSY)) => {
            notify::install_silent(&filter(rules, false))?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Takes away the one call that a start needs after `install`: openat2(2), by which `.env` is read beneath the
/// base.
///
/// # Errors
/// seccomp(2).
pub fn finish(allowed: &[Sysno]) -> io::Result<()> {
    if allowed.contains(&Sysno::openat2) {
        return Ok(());
    }
    // Of other architectures the first filter has the say.
    let code = [load(NUMBER), if_equal(Sysno::openat2 as u32, 0, 1), fail(libc::ENOSYS), ALLOW];
    notify::install_silent(&code)
}

/// The errno of a call that is refused.
#[must_use]
pub fn errno_of(call: Sysno) -> i32 {
    match call {
        Sysno::socket | Sysno::socketpair => libc::EAFNOSUPPORT,
        _ => libc::EPERM,
    }
}

const fn instruction(code: u16, yes: u8, no: u8, value: u32) -> Filter {
    Filter { code, jt: yes, jf: no, k: value }
}

const fn load(offset: u32) -> Filter {
    instruction(0x20, 0, 0, offset)
}

/// The lower half of an argument: what the kernel reads of an int.
const fn argument(number: u8) -> Filter {
    load(ARGUMENTS + 8 * number as u32)
}

const fn if_equal(value: u32, yes: u8, no: u8) -> Filter {
    instruction(0x15, yes, no, value)
}

const fn if_from(value: u32, yes: u8, no: u8) -> Filter {
    instruction(0x35, yes, no, value)
}

const fn if_bits(value: u32, yes: u8, no: u8) -> Filter {
    instruction(0x45, yes, no, value)
}

const fn and(value: u32) -> Filter {
    instruction(0x54, 0, 0, value)
}

const fn skip(count: u32) -> Filter {
    instruction(0x05, 0, 0, count)
}

const fn end(verdict: u32) -> Filter {
    instruction(0x06, 0, 0, verdict)
}

const fn fail(errno: i32) -> Filter {
    end(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned())
}

const ALLOW: Filter = end(libc::SECCOMP_RET_ALLOW);

/// The call gives 0 and is not made.
const DONE: Filter = fail(0);

/// The pipes of an app stay blocking: what a nonblocking one did not take when the app dies is lost, of a
/// program that logs without waiting (Node) nearly all of it.
const FIONBIO: u32 = 0x5421;

fn filter(rules: Rules<'_>, is_told: bool) -> Vec<Filter> {
    let mut code = vec![
        load(ARCHITECTURE),
        if_equal(X86_64, 1, 0),
        end(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        if_from(X32, 0, 1),
        fail(libc::ENOSYS),
    ];
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    for number in 0..=calls::LAST as u32 + 1 {
        let verdict = match Sysno::new(number as usize) {
            Some(call) if rules.allowed.contains(&call) => Verdict::Allow,
            // Until `finish`.
            Some(Sysno::openat2) => Verdict::Allow,
            Some(call) if number <= calls::LAST as u32 => calls::verdict(call),
            _ => Verdict::Absent,
        };
        if ranges.last().is_none_or(|(_, before)| *before != verdict) {
            ranges.push((number, verdict));
        }
    }
    code.extend(tree(&ranges, rules, is_told));
    code
}

/// A search by halves over the numbers. The number is loaded.
fn tree(ranges: &[(u32, Verdict)], rules: Rules<'_>, is_told: bool) -> Vec<Filter> {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let [(from, verdict), ..] = high else { return Vec::new() };
    if low.is_empty() {
        return leaf(*verdict, rules, is_told);
    }
    let low = tree(low, rules, is_told);
    let mut code = vec![if_from(*from, 0, 1), skip(u32::try_from(low.len()).unwrap_or(u32::MAX))];
    code.extend(low);
    code.extend(tree(high, rules, is_told));
    code
}

fn leaf(verdict: Verdict, rules: Rules<'_>, is_told: bool) -> Vec<Filter> {
    let told = end(libc::SECCOMP_RET_USER_NOTIF);
    let refuse = if is_told { told } else { fail(libc::EPERM) };
    match verdict {
        Verdict::Allow => vec![ALLOW],
        Verdict::Refuse => vec![refuse],
        Verdict::Absent => vec![fail(libc::ENOSYS)],
        Verdict::Listen => vec![if rules.listens && is_told { told } else { ALLOW }],
        Verdict::UnlessBits(number, bits) => {
            vec![argument(number), if_bits(bits, 0, 1), refuse, ALLOW]
        }
        Verdict::UnlessSetId(number) => {
            vec![argument(number), if_bits(calls::SET_ID, 0, 1), refuse, ALLOW]
        }
        Verdict::UnlessCreatesSetId { mode, flags } => {
            let creates = libc::O_CREAT.cast_unsigned() | TMPFILE;
            vec![
                argument(mode),
                if_bits(calls::SET_ID, 0, 3),
                argument(flags),
                if_bits(creates, 0, 1),
                refuse,
                ALLOW,
            ]
        }
        Verdict::If(number, values) => one_of(argument(number), values, ALLOW, refuse),
        Verdict::Unless(number, values) => one_of(argument(number), values, refuse, ALLOW),
        Verdict::Ioctl(refused) => {
            let mut code = vec![argument(1), if_equal(FIONBIO, 0, 4)];
            code.extend(if_output(1));
            code.push(DONE);
            code.extend(one_of(argument(1), refused, refuse, ALLOW));
            code
        }
        Verdict::Fcntl => {
            let mut code = vec![argument(1), if_equal(libc::F_SETFL.cast_unsigned(), 0, 6)];
            code.extend([argument(2), if_bits(libc::O_NONBLOCK.cast_unsigned(), 0, 4)]);
            code.extend(if_output(1));
            code.extend([DONE, ALLOW]);
            code
        }
        Verdict::Socket => socket(if is_told { told } else { fail(libc::EAFNOSUPPORT) }),
    }
}

/// Goes on where the descriptor is standard output or error; else past `count` more.
fn if_output(count: u8) -> [Filter; 3] {
    [argument(0), if_equal(1, 1, 0), if_equal(2, 0, count)]
}

fn one_of(load: Filter, values: &[u32], yes: Filter, no: Filter) -> Vec<Filter> {
    let mut code = vec![load];
    for (index, value) in values.iter().enumerate() {
        // To `yes`, behind the rest and `no`.
        let rest = u8::try_from(values.len() - index).unwrap_or(u8::MAX);
        code.push(if_equal(*value, rest, 0));
    }
    code.extend([no, yes]);
    code
}

/// Unix sockets; routes and interfaces by netlink (what getifaddrs(3) asks); streams and datagrams over IPv4
/// and IPv6.
fn socket(refuse: Filter) -> Vec<Filter> {
    let mut code = vec![
        argument(0),
        if_equal(libc::AF_UNIX.cast_unsigned(), 0, 1),
        ALLOW,
        if_equal(libc::AF_NETLINK.cast_unsigned(), 0, 4),
        argument(2),
        if_equal(libc::NETLINK_ROUTE.cast_unsigned(), 1, 0),
        refuse,
        ALLOW,
        if_equal(libc::AF_INET.cast_unsigned(), 2, 0),
        if_equal(libc::AF_INET6.cast_unsigned(), 1, 0),
        refuse,
        // Raw ones need a capability; the other kinds mean other protocols.
        argument(1),
        and(0xf),
        if_equal(libc::SOCK_STREAM.cast_unsigned(), 3, 0),
        if_equal(libc::SOCK_DGRAM.cast_unsigned(), 2, 0),
        if_equal(libc::SOCK_RAW.cast_unsigned(), 1, 0),
        refuse,
    ];
    code.extend(one_of(argument(2), &PROTOCOLS, ALLOW, refuse));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call.
    fn verdict(filter: &[Filter], architecture: u32, number: u32, arguments: &[u64]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let Filter { code, jt, jf, k } = filter[at];
            at += 1;
            let mut jump = |is: bool| at += usize::from(if is { jt } else { jf });
            match code {
                0x20 => {
                    value = match k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        _ => {
                            let argument = arguments.get((k as usize - 16) / 8);
                            argument.copied().unwrap_or(0) as u32
                        }
                    }
                }
                0x15 => jump(value == k),
                0x35 => jump(value >= k),
                0x45 => jump(value & k != 0),
                0x54 => value &= k,
                0x05 => at += k as usize,
                0x06 => return k,
                _ => panic!("not an instruction: {code}"),
            }
        }
    }

    const RULES: Rules<'_> = Rules { listens: true, allowed: &[] };
    const TOLD: u32 = libc::SECCOMP_RET_USER_NOTIF;
    const YES: u32 = libc::SECCOMP_RET_ALLOW;
    const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    #[test]
    fn every_number_gets_the_verdict_of_the_list() {
        let filter = filter(RULES, true);
        assert!(filter.len() < 1024, "{}", filter.len());
        for number in 0..600 {
            let found = verdict(&filter, X86_64, number, &[]);
            let call = Sysno::new(number as usize);
            if call == Some(Sysno::openat2) {
                assert_eq!(found, YES, "until the start is done");
                continue;
            }
            match call.map(calls::verdict) {
                None | Some(Verdict::Absent) => assert_eq!(found, ABSENT, "{number}"),
                Some(Verdict::Allow) => assert_eq!(found, YES, "{call:?}"),
                Some(Verdict::Refuse | Verdict::Listen) => assert_eq!(found, TOLD, "{call:?}"),
                Some(_) => {}
            }
        }
        for number in [0, libc::SYS_listen as u32, 1 << 29] {
            assert_eq!(verdict(&filter, X86_64, X32 | number, &[]), ABSENT);
        }
        for architecture in [0x4000_0003, 1, 0xc000_00b7] {
            let killed = libc::SECCOMP_RET_KILL_PROCESS;
            assert_eq!(verdict(&filter, architecture, libc::SYS_read as u32, &[]), killed);
        }
    }

    #[test]
    fn arguments_decide_where_a_call_is_both() {
        use libc::{AF_ALG, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK};
        let filter = filter(RULES, true);
        let says = |call: i64, arguments: &[i64]| {
            // What is above the lower half is not the kernel's.
            let words: Vec<u64> =
                arguments.iter().map(|word| word.cast_unsigned() | 7 << 40).collect();
            verdict(&filter, X86_64, u32::try_from(call).expect("a number"), &words)
        };
        let family = |family: libc::c_int, kind: i64, protocol: i64| {
            says(libc::SYS_socket, &[family.into(), kind, protocol])
        };
        let cloexec = i64::from(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        for allowed in [
            family(AF_UNIX, 5, 0),
            family(AF_INET, 1 | cloexec, 0),
            family(AF_INET6, 2, 17),
            family(AF_INET6, 1, 262),
            family(AF_NETLINK, 3 | cloexec, 0),
            says(libc::SYS_socketpair, &[AF_UNIX.into()]),
            says(libc::SYS_clone, &[0x3d_0f00]),
            says(libc::SYS_unshare, &[libc::CLONE_FILES.into()]),
            says(libc::SYS_ioctl, &[3, 0x5421]),
            says(libc::SYS_ioctl, &[1, 0x5401]),
            says(libc::SYS_fcntl, &[3, libc::F_SETFL.into(), libc::O_NONBLOCK.into()]),
            says(libc::SYS_fcntl, &[1, libc::F_SETFL.into(), libc::O_APPEND.into()]),
            says(libc::SYS_fcntl, &[1, libc::F_GETFL.into(), libc::O_NONBLOCK.into()]),
            says(libc::SYS_personality, &[0xffff_ffff]),
            says(libc::SYS_chmod, &[0, 0o1777]),
            says(libc::SYS_openat, &[0, 0, libc::O_CREAT.into(), 0o644]),
            says(libc::SYS_openat, &[0, 0, 0, 0o6644]),
        ] {
            assert_eq!(allowed, YES);
        }
        let flags = i64::from(libc::O_NONBLOCK | libc::O_APPEND);
        for without_effect in [
            says(libc::SYS_ioctl, &[1, 0x5421]),
            says(libc::SYS_ioctl, &[2, 0x5421]),
            says(libc::SYS_fcntl, &[1, libc::F_SETFL.into(), flags]),
            says(libc::SYS_fcntl, &[2, libc::F_SETFL.into(), flags]),
        ] {
            assert_eq!(without_effect, libc::SECCOMP_RET_ERRNO);
        }
        for refused in [
            family(AF_ALG, 5, 0),
            family(AF_VSOCK, 1, 0),
            family(AF_PACKET, 3, 0),
            family(AF_INET, 5, 0),
            family(AF_INET, 1, 132),
            family(AF_INET, 2, 1),
            family(AF_INET6, 2, 58),
            family(AF_INET6, 2, 136),
            family(AF_INET, 6, 0),
            family(AF_NETLINK, 3, 12),
            says(libc::SYS_socketpair, &[30]),
            says(libc::SYS_clone, &[i64::from(libc::CLONE_NEWUSER) | 0x11]),
            says(libc::SYS_unshare, &[i64::from(libc::CLONE_NEWNET)]),
            says(libc::SYS_unshare, &[0x80]),
            says(libc::SYS_ioctl, &[0, 0x5412]),
            says(libc::SYS_personality, &[0x0004_0000]),
            says(libc::SYS_chmod, &[0, 0o4755]),
            says(libc::SYS_fchmodat, &[0, 0, 0o2755]),
            says(libc::SYS_openat, &[0, 0, libc::O_CREAT.into(), 0o4755]),
            says(libc::SYS_openat, &[0, 0, libc::O_TMPFILE.into(), 0o4755]),
            says(libc::SYS_mknodat, &[0, 0, 0o104_755]),
            says(libc::SYS_ptrace, &[]),
        ] {
            assert_eq!(refused, TOLD);
        }
    }

    #[test]
    fn a_profile_may_allow_more_and_a_kernel_tell_less() {
        let allowed = [Sysno::ptrace, Sysno::io_uring_setup, Sysno::chmod];
        let rules = Rules { listens: false, allowed: &allowed };
        let filter = filter(rules, false);
        let says = |call: i64, arguments: &[u64]| {
            verdict(&filter, X86_64, u32::try_from(call).expect("a number"), arguments)
        };
        assert_eq!(says(libc::SYS_ptrace, &[]), YES);
        assert_eq!(says(libc::SYS_io_uring_setup, &[]), YES);
        assert_eq!(says(libc::SYS_chmod, &[0, 0o4755]), YES);
        assert_eq!(says(libc::SYS_listen, &[]), YES);
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        assert_eq!(says(libc::SYS_mount, &[]), refused);
    }
}
