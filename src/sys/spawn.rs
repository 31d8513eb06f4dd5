//! Starts one of our own roles in new namespaces: one clone3(2) that shares memory until the exec,
//! so that a parent of any size pays no page tables (20 ms at 500 MB for a fork: measured).

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::signals::AllBlocked;

/// `struct clone_args` of clone3(2).
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct CloneArgs {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

impl CloneArgs {
    pub(super) const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    pub(super) const INTO_CGROUP: u64 = 0x2_0000_0000;
}

/// The namespaces of an instance that are taken at birth; the cgroup namespace comes later, once
/// the app is in its cgroup.
pub const INSTANCE_NAMESPACES: c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// What to start.
#[derive(Debug)]
pub struct Request<'a> {
    /// The program, opened with `O_PATH`.
    pub program: BorrowedFd<'a>,
    /// Its arguments, the name first.
    pub arguments: &'a [&'a CStr],
    /// Its whole environment.
    pub environment: &'a [&'a CStr],
    /// Its whole set of descriptors: they become 0, 1, 2, …
    pub descriptors: &'a [BorrowedFd<'a>],
    /// `CLONE_NEW…` flags.
    pub namespaces: c_int,
    /// The cgroup v2 folder to be born in.
    pub group: Option<BorrowedFd<'a>>,
    /// Whether the child leads a session of its own.
    pub own_session: bool,
}

/// A started process.
#[derive(Debug)]
pub struct Spawned {
    /// As this process sees it.
    pub pid: i32,
    /// pidfd_open(2).
    pub pidfd: OwnedFd,
}

/// The most descriptors a child can be given.
const MOST_DESCRIPTORS: usize = 16;
const STACK_BYTES: usize = 64 << 10;

/// All that the child reads and writes; it lives in the parent, which waits for the exec.
struct Plan {
    program: RawFd,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    descriptors: [RawFd; MOST_DESCRIPTORS],
    count: c_int,
    own_session: bool,
    errno: c_int,
}

/// Starts a process and returns once it has executed `program`.
///
/// # Errors
/// What clone3(2), the placing of descriptors or the exec said.
pub fn spawn(request: &Request<'_>) -> io::Result<Spawned> {
    let pointers = |texts: &[&CStr]| -> Vec<*const c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let arguments = pointers(request.arguments);
    let environment = pointers(request.environment);
    let mut plan = Plan {
        program: request.program.as_raw_fd(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        descriptors: [-1; MOST_DESCRIPTORS],
        count: c_int::try_from(request.descriptors.len()).unwrap_or(c_int::MAX),
        own_session: request.own_session,
        errno: 0,
    };
    if request.descriptors.len() > MOST_DESCRIPTORS {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    for (slot, descriptor) in plan.descriptors.iter_mut().zip(request.descriptors) {
        *slot = descriptor.as_raw_fd();
    }
    let mut stack = vec![0_u128; STACK_BYTES / 16];
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | request.namespaces;
    let group = request.group.map(|group| group.as_raw_fd());
    let mut clone_arguments = CloneArgs {
        flags: u64::from(flags.cast_unsigned())
            | CloneArgs::CLEAR_SIGHAND
            | group.map_or(0, |_| CloneArgs::INTO_CGROUP),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.as_mut_ptr() as u64,
        stack_size: STACK_BYTES as u64,
        cgroup: group.and_then(|group| u64::try_from(group).ok()).unwrap_or(0),
        ..CloneArgs::default()
    };
    // A handler of ours must not run on the child's stack; the child resets its mask after the exec.
    let blocked = AllBlocked::now();
    // JUSTIFICATION: no crate offers clone3, and CLONE_VM without a stack of its own would let the
    // child overwrite the frame the parent returns to; so the call and the child's first jump are one
    // piece of assembly.
    // SAFETY: with CLONE_VFORK the parent sleeps until the child has executed or exited, so `plan`,
    // `stack`, `pidfd` and what they point to outlive the child's use of them. `child` calls only
    // async-signal-safe system calls, never returns, and runs on its own, 16-byte aligned stack.
    // CLONE_FILES is not set: the descriptors it moves are its own copies.
    let result = unsafe { clone_and_run(&mut clone_arguments, child, (&raw mut plan).cast()) };
    drop(blocked);
    drop(stack);
    if result < 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO)));
    }
    // SAFETY: the kernel has just made this descriptor for this process.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if plan.errno != 0 {
        // The child is dead: take its status, so that no zombie stays.
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
            rustix::process::WaitIdOptions::EXITED,
        );
        return Err(io::Error::from_raw_os_error(plan.errno));
    }
    Ok(Spawned { pid: i32::try_from(result).unwrap_or(-1), pidfd })
}

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "swrun is written and tested for x86_64; another machine needs its own clone_and_run"
);

/// # Safety
/// `arguments` describe a child with a stack of its own; `child` never returns.
unsafe fn clone_and_run(
    arguments: &mut CloneArgs,
    child: extern "C" fn(*mut c_void) -> !,
    plan: *mut c_void,
) -> i64 {
    let result: i64;
    // SAFETY: see the caller. rcx and r11 are what `syscall` overwrites; r12 and r13 keep their
    // values over it, in both processes.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") child,
            in("r13") plan,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// The child: places its descriptors, closes every other one, executes.
extern "C" fn child(plan: *mut c_void) -> ! {
    // SAFETY: the parent sleeps (CLONE_VFORK), so this is the only user of the plan.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    // SAFETY: system calls on integers and on the plan's own pointers, which the parent keeps alive.
    unsafe {
        let count = usize::try_from(plan.count).unwrap_or(0);
        // First all out of the way, then each to its number: none can overwrite one still needed.
        let program =
            libc::fcntl(plan.program, libc::F_DUPFD_CLOEXEC, MOST_DESCRIPTORS as c_int + 1);
        let mut failed = program == -1;
        for slot in &mut plan.descriptors[..count] {
            *slot = libc::fcntl(*slot, libc::F_DUPFD, MOST_DESCRIPTORS as c_int + 1);
            failed |= *slot == -1;
        }
        for (number, from) in (0..).zip(&plan.descriptors[..count]) {
            failed |= !failed && libc::dup2(*from, number) == -1;
        }
        failed |= !failed && libc::dup2(program, plan.count) == -1;
        failed |= !failed && libc::fcntl(plan.count, libc::F_SETFD, libc::FD_CLOEXEC) == -1;
        failed |=
            !failed && libc::syscall(libc::SYS_close_range, plan.count + 1, c_int::MAX, 0) == -1;
        if !failed && plan.own_session {
            libc::setsid();
        }
        if !failed {
            libc::syscall(
                libc::SYS_execveat,
                plan.count,
                c"".as_ptr(),
                plan.arguments,
                plan.environment,
                libc::AT_EMPTY_PATH,
            );
        }
        plan.errno = *libc::__errno_location();
        libc::_exit(127)
    }
}
