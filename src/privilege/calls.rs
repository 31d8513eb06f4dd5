//! Which system calls an app may make: a list of what is allowed, all else is refused.
//!
//! The yardstick is the default list of container runtimes; tightened for servers: no tracing of other
//! processes, no clocks, no files with set-user-id bits, no rare kinds of sockets.

use syscalls::Sysno;
use syscalls::Sysno as S;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It is refused, counted and told: the monitor answers.
    Refuse,
    /// It is as on a kernel that does not have it: programs that ask for it have another way.
    Absent,
    /// The monitor makes it (listen(2)).
    Listen,
    /// Refused if this argument has one of these bits.
    UnlessBits(u8, u32),
    /// Refused if this argument has set-id bits.
    UnlessSetId(u8),
    /// The same where this other argument says that a file is made.
    UnlessCreatesSetId {
        /// The argument with the mode.
        mode: u8,
        /// The argument with the flags.
        flags: u8,
    },
    /// Refused unless this argument is one of these.
    If(u8, &'static [u32]),
    /// Refused if this argument is one of these.
    Unless(u8, &'static [u32]),
    /// Families, kinds and protocols that servers use.
    Socket,
    /// Refused if the request is one of these; that standard output and error be nonblocking (`FIONBIO`) is
    /// answered as done and has no effect.
    Ioctl(&'static [u32]),
    /// The same answer, by `F_SETFL` with `O_NONBLOCK`.
    Fcntl,
}

/// Set-user-id and set-group-id.
pub const SET_ID: u32 = 0o6000;

/// New namespaces of any kind (clone(2), unshare(2), `CLONE_NEWTIME` but for clone(2), where it is a signal).
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();
const NEW_TIME: u32 = 0x80;

/// Typing into a terminal (TIOCSTI(2const), TIOCLINUX(2const)), the terminal of an operator who runs something in
/// the cage; and modules for its lines (TIOCSETD(2const)).
const INTO_TERMINALS: &[u32] = &[0x5412, 0x541c, 0x5423];

const UNIX: &[u32] = &[libc::AF_UNIX.cast_unsigned()];

/// `PER_LINUX`, and the question which it is.
const PERSONALITIES: &[u32] = &[0, u32::MAX];

/// Calls that libraries try first and do without: told of, they would be noise. Newer ones than this list are
/// absent too.
const ABSENT: [Sysno; 15] = [
    // The C library makes threads by clone(2) then, whose flags can be looked at.
    S::clone3,
    // Its mode lies in memory, which can change after the look.
    S::openat2,
    S::io_uring_setup,
    S::io_uring_enter,
    S::io_uring_register,
    S::statmount,
    S::listmount,
    S::setxattrat,
    S::getxattrat,
    S::listxattrat,
    S::removexattrat,
    S::name_to_handle_at,
    // .NET takes no other answer for a machine with one memory node.
    S::get_mempolicy,
    S::set_mempolicy,
    S::mbind,
];

/// The last number that was known when the list was made: what comes later is absent.
pub const LAST: Sysno = S::file_setattr;

const ALLOWED: [Sysno; 270] = [
    // Files and folders.
    S::read,
    S::write,
    S::close,
    S::lseek,
    S::pread64,
    S::pwrite64,
    S::readv,
    S::writev,
    S::preadv,
    S::pwritev,
    S::preadv2,
    S::pwritev2,
    S::stat,
    S::fstat,
    S::lstat,
    S::newfstatat,
    S::statx,
    S::access,
    S::faccessat,
    S::faccessat2,
    S::truncate,
    S::ftruncate,
    S::fallocate,
    S::getdents,
    S::getdents64,
    S::getcwd,
    S::chdir,
    S::fchdir,
    S::rename,
    S::renameat,
    S::renameat2,
    S::mkdir,
    S::mkdirat,
    S::rmdir,
    S::link,
    S::linkat,
    S::unlink,
    S::unlinkat,
    S::symlink,
    S::symlinkat,
    S::readlink,
    S::readlinkat,
    S::chown,
    S::fchown,
    S::lchown,
    S::fchownat,
    S::umask,
    S::utime,
    S::utimes,
    S::futimesat,
    S::utimensat,
    S::statfs,
    S::fstatfs,
    S::flock,
    S::fsync,
    S::fdatasync,
    S::sync,
    S::syncfs,
    S::sync_file_range,
    S::readahead,
    S::fadvise64,
    S::sendfile,
    S::splice,
    S::tee,
    S::vmsplice,
    S::copy_file_range,
    S::cachestat,
    S::setxattr,
    S::lsetxattr,
    S::fsetxattr,
    S::getxattr,
    S::lgetxattr,
    S::fgetxattr,
    S::listxattr,
    S::llistxattr,
    S::flistxattr,
    S::removexattr,
    S::lremovexattr,
    S::fremovexattr,
    S::inotify_init,
    S::inotify_init1,
    S::inotify_add_watch,
    S::inotify_rm_watch,
    S::io_setup,
    S::io_destroy,
    S::io_getevents,
    S::io_pgetevents,
    S::io_submit,
    S::io_cancel,
    // Descriptors and waiting.
    S::dup,
    S::dup2,
    S::dup3,
    S::pipe,
    S::pipe2,
    S::close_range,
    S::poll,
    S::ppoll,
    S::select,
    S::pselect6,
    S::epoll_create,
    S::epoll_create1,
    S::epoll_ctl,
    S::epoll_wait,
    S::epoll_pwait,
    S::epoll_pwait2,
    S::eventfd,
    S::eventfd2,
    S::signalfd,
    S::signalfd4,
    S::timerfd_create,
    S::timerfd_settime,
    S::timerfd_gettime,
    S::memfd_create,
    // Sockets; socket(2), socketpair(2) and listen(2) have rules of their own.
    S::connect,
    S::accept,
    S::accept4,
    S::bind,
    S::sendto,
    S::recvfrom,
    S::sendmsg,
    S::recvmsg,
    S::sendmmsg,
    S::recvmmsg,
    S::shutdown,
    S::getsockname,
    S::getpeername,
    S::setsockopt,
    S::getsockopt,
    // Memory.
    S::mmap,
    S::mprotect,
    S::munmap,
    S::brk,
    S::mremap,
    S::msync,
    S::mincore,
    S::madvise,
    S::mlock,
    S::mlock2,
    S::munlock,
    S::mlockall,
    S::munlockall,
    S::membarrier,
    S::mseal,
    S::pkey_mprotect,
    S::pkey_alloc,
    S::pkey_free,
    S::map_shadow_stack,
    S::shmget,
    S::shmat,
    S::shmctl,
    S::shmdt,
    S::semget,
    S::semop,
    S::semctl,
    S::semtimedop,
    S::msgget,
    S::msgsnd,
    S::msgrcv,
    S::msgctl,
    S::mq_open,
    S::mq_unlink,
    S::mq_timedsend,
    S::mq_timedreceive,
    S::mq_notify,
    S::mq_getsetattr,
    // Processes and threads; clone(2) has a rule of its own.
    S::fork,
    S::vfork,
    S::execve,
    S::execveat,
    S::exit,
    S::exit_group,
    S::wait4,
    S::waitid,
    S::kill,
    S::tkill,
    S::tgkill,
    S::pidfd_open,
    S::pidfd_send_signal,
    S::rt_sigaction,
    S::rt_sigprocmask,
    S::rt_sigreturn,
    S::rt_sigpending,
    S::rt_sigtimedwait,
    S::rt_sigqueueinfo,
    S::rt_tgsigqueueinfo,
    S::rt_sigsuspend,
    S::sigaltstack,
    S::pause,
    S::getpid,
    S::getppid,
    S::gettid,
    S::setpgid,
    S::getpgid,
    S::getpgrp,
    S::setsid,
    S::getsid,
    S::set_tid_address,
    S::set_robust_list,
    S::get_robust_list,
    S::rseq,
    S::futex,
    S::futex_wait,
    S::futex_wake,
    S::futex_waitv,
    S::futex_requeue,
    S::restart_syscall,
    S::arch_prctl,
    S::prctl,
    // Time.
    S::nanosleep,
    S::clock_nanosleep,
    S::clock_gettime,
    S::clock_getres,
    S::gettimeofday,
    S::time,
    S::times,
    S::alarm,
    S::getitimer,
    S::setitimer,
    S::timer_create,
    S::timer_settime,
    S::timer_gettime,
    S::timer_getoverrun,
    S::timer_delete,
    // Priorities and limits: without a capability they can only be made worse.
    S::sched_yield,
    S::getpriority,
    S::setpriority,
    S::sched_setparam,
    S::sched_getparam,
    S::sched_setscheduler,
    S::sched_getscheduler,
    S::sched_get_priority_max,
    S::sched_get_priority_min,
    S::sched_rr_get_interval,
    S::sched_setaffinity,
    S::sched_getaffinity,
    S::sched_setattr,
    S::sched_getattr,
    S::ioprio_set,
    S::ioprio_get,
    S::getrlimit,
    S::setrlimit,
    S::prlimit64,
    S::getrusage,
    S::getcpu,
    // Who it is: without a capability nobody else.
    S::getuid,
    S::geteuid,
    S::getgid,
    S::getegid,
    S::setuid,
    S::setgid,
    S::setreuid,
    S::setregid,
    S::setresuid,
    S::setresgid,
    S::getresuid,
    S::getresgid,
    S::getgroups,
    S::setgroups,
    S::setfsuid,
    S::setfsgid,
    S::capget,
    S::capset,
    // Made by the kernel's own code in a program whose functions somebody watches; elsewhere it ends in SIGILL.
    S::uretprobe,
    // What it is on, and its own sandboxes.
    S::uname,
    S::sysinfo,
    S::getrandom,
    S::seccomp,
    S::landlock_create_ruleset,
    S::landlock_add_rule,
    S::landlock_restrict_self,
];

/// What becomes of `call`.
#[must_use]
pub fn verdict(call: Sysno) -> Verdict {
    match call {
        S::listen => Verdict::Listen,
        S::clone => Verdict::UnlessBits(0, NAMESPACES),
        S::unshare => Verdict::UnlessBits(0, NAMESPACES | NEW_TIME),
        S::socket => Verdict::Socket,
        S::socketpair => Verdict::If(0, UNIX),
        S::ioctl => Verdict::Ioctl(INTO_TERMINALS),
        S::fcntl => Verdict::Fcntl,
        S::personality => Verdict::If(0, PERSONALITIES),
        S::chmod | S::fchmod | S::creat | S::mknod => Verdict::UnlessSetId(1),
        S::fchmodat | S::fchmodat2 | S::mknodat => Verdict::UnlessSetId(2),
        S::open => Verdict::UnlessCreatesSetId { mode: 2, flags: 1 },
        S::openat => Verdict::UnlessCreatesSetId { mode: 3, flags: 2 },
        call if ALLOWED.contains(&call) => Verdict::Allow,
        call if ABSENT.contains(&call) => Verdict::Absent,
        _ => Verdict::Refuse,
    }
}
