/*
 * Ways round a filter of system calls: 32-bit calls (201), x32 numbers (202), ioctls and numbers with high
 * bits (205, 223), numbers that are not (222).
 */
#include "attack.h"

#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>

/* A call as a 32-bit program makes it; small arguments only. Without that in the kernel it is SIGSEGV. */
static long call_32(long number, long first, long second, long third)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(first), "c"(second), "d"(third), "S"(0L), "D"(0L)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

/* `call`: number and arguments in the 32-bit table, syscall_32.tbl. */
static void by_32_bit(const struct attack *attack)
{
    long result = call_32(attack->call[0], attack->call[1], attack->call[2], attack->call[3]);
    errno = result < 0 ? (int)-result : 0;
    judge(result < 0 ? -1 : 0, attack->reached, "int-0x80");
}

/* A socket that never was bound: whether it listens is looked at. `value` 0 is listen, 1 socketcall. */
static void listen_by_32_bit(const struct attack *attack)
{
    static unsigned arguments[2];
    int listening = 0, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof listening;
    if (server < 0)
        refused(errno, "call=socket");
    arguments[0] = (unsigned)server;
    arguments[1] = 8;
    long result = attack->value ? call_32(102, 4, (long)(uintptr_t)arguments, 0) : call_32(363, server, 8, 0);
    getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    if (listening)
        done("listening=yes");
    if (result < 0)
        refused((int)-result, "listening=no");
    conclude("unchanged", "listening=no");
}

static void listen_by_x32(const struct attack *attack)
{
    int listening = 0, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof listening;
    if (server < 0)
        refused(errno, "call=socket");
    long result = syscall(SYS_listen | attack->value, server, 8);
    int error = errno;
    getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    if (listening)
        done("listening=yes");
    if (result < 0)
        refused(error, "listening=no");
    conclude("unchanged", "listening=no");
}

/* The number as a whole 64-bit register: the kernel looks at the lower half, seccomp(2) too. */
static long call_64(unsigned long number, long first, long second)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(0L) : "rcx", "r11", "memory");
    return result;
}

static void by_high_number(const struct attack *attack)
{
    long result = call_64((unsigned long)attack->call[0] | 1UL << 32, attack->call[1], attack->call[2]);
    errno = result < 0 ? (int)-result : 0;
    judge(result < 0 ? -1 : 0, attack->reached, "syscall");
}

/*
 * A byte pushed into a terminal of our own, as if it were typed; it is read back. The request is an unsigned
 * int for the kernel, so that high bits get past a filter that compares all 64 (CVE-2019-10063).
 */
static void push_into_own_terminal(const struct attack *attack)
{
    int ends[2], told[2] = {0, 0};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0 || pipe2(ends, O_CLOEXEC) < 0)
        refused(errno, "call=posix_openpt");
    const char *name = ptsname(terminal);
    if (!name)
        refused(errno, "call=ptsname");
    pid_t child = fork();
    if (child == 0) {
        struct termios raw;
        char byte = 'x';
        int waiting = 0;
        setsid();
        int own = open(name, O_RDWR); /* becomes the terminal of the session, open(2) */
        tcgetattr(own, &raw);
        cfmakeraw(&raw);
        tcsetattr(own, TCSANOW, &raw);
        long result = syscall(SYS_ioctl, own, (unsigned long)attack->value, &byte);
        told[1] = own < 0 || result < 0 ? errno : 0;
        ioctl(own, FIONREAD, &waiting);
        told[0] = waiting;
        _exit(write(ends[1], told, sizeof told) < 0);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], told, sizeof told) != sizeof told)
        conclude("killed", "what=session");
    wait_for(child);
    if (told[0] > 0)
        done("bytes=%d", told[0]);
    if (told[1])
        refused(told[1], "call=ioctl");
    conclude("unchanged", "bytes=0");
}

#define BY32(the_number, the_title, the_errno, ...) \
    ROW(the_number, the_title, by_32_bit, .reached = the_errno, .call = {__VA_ARGS__})
#define CALL(the_number, the_title, the_errno, ...) \
    ROW(the_number, the_title, attempt_call, .reached = the_errno, .text = "call", .call = {__VA_ARGS__})
#define X32(number) ((number) | 0x40000000L)

static char room[256];

const struct attack abi_attacks[] = {
    /* Says only whether the kernel takes 32-bit calls at all. */
    BY32("201a", "32-bit: getpid", 0, 20, 0, 0, 0),
    BY32("201b", "32-bit: unshare CLONE_NEWUSER", 0, 310, CLONE_NEWUSER, 0, 0),
    BY32("201c", "32-bit: unshare CLONE_NEWNS", 0, 310, CLONE_NEWNS, 0, 0),
    BY32("201d", "32-bit: socket AF_ALG", 0, 359, 38, SOCK_SEQPACKET, 0),
    BY32("201e", "32-bit: socket AF_PACKET", 0, 359, 17, SOCK_DGRAM, 0),
    /* Null paths: EFAULT is before the right, it says only that the call is open. */
    BY32("201f", "32-bit: mount", 0, 21, 0, 0, 0),
    /* No parameters are EFAULT after the right (io_uring/io_uring.c); so in 202c and 223c. */
    BY32("201g", "32-bit: io_uring_setup", EFAULT, 425, 0, 0, 0),
    BY32("201h", "32-bit: keyctl", 0, 288, 0, -3, 0),
    BY32("201i", "32-bit: bpf", 0, 357, 0, 0, 0),
    BY32("201j", "32-bit: personality ADDR_NO_RANDOMIZE", 0, 136, 0x40000, 0, 0),
    BY32("201k", "32-bit: userfaultfd, user mode only", 0, 374, 1, 0, 0),
    BY32("201l", "32-bit: vm86", 0, 166, 0, 0, 0),
    BY32("201m", "32-bit: modify_ldt", 0, 123, 0, 0, 0),
    ROW("201n", "32-bit: listen without bind", listen_by_32_bit),
    ROW("201o", "32-bit: listen without bind by socketcall", listen_by_32_bit, .value = 1),
    BY32("201p", "32-bit: init_module", ENOEXEC, 128, 0, 0, 0),
    BY32("201q", "32-bit: iopl", 0, 110, 3, 0, 0),
    BY32("201r", "32-bit: ptrace of pid 1", 0, 26, 0x4206, 1, 0),
    CALL("202a", "x32: getpid", 0, X32(SYS_getpid)),
    CALL("202b", "x32: unshare CLONE_NEWUSER", 0, X32(SYS_unshare), CLONE_NEWUSER),
    CALL("202c", "x32: io_uring_setup", EFAULT, X32(NR_io_uring_setup), 0, 0),
    CALL("202d", "x32: keyctl", 0, X32(SYS_keyctl), 0, -3, 0),
    CALL("202e", "x32: bpf", 0, X32(SYS_bpf), 0, (long)room, 64),
    CALL("202f", "x32: ptrace of pid 1 (its own number)", 0, X32(521), 0x4206, 1, 0, 0),
    CALL("202g", "x32: its own numbers without the bit (ptrace, 521)", 0, 521, 0x4206, 1, 0, 0),
    CALL("202h", "x32: socket AF_ALG", 0, X32(SYS_socket), 38, SOCK_SEQPACKET, 0),
    ROW("202i", "x32: listen without bind", listen_by_x32, .value = 0x40000000),
    ROW("205a", "push a byte into an own terminal (TIOCSTI)", push_into_own_terminal, .value = TIOCSTI),
    ROW("205b", "TIOCSTI with bit 32", push_into_own_terminal, .value = TIOCSTI | 1L << 32),
    ROW("205c", "TIOCSTI with many high bits", push_into_own_terminal, .value = TIOCSTI | 0x7fffffffL << 32),
    ROW("205d", "TIOCLINUX with bit 32", push_into_own_terminal, .value = TIOCLINUX | 1L << 32),
    CALL("222a", "call with number 1000", 0, 1000, 0),
    CALL("222b", "call with number -1", 0, -1, 0),
    CALL("222c", "call with number 0x7fffffff", 0, 0x7fffffff, 0),
    CALL("222d", "call with number 0x3fffffff", 0, 0x3fffffff, 0),
    ROW("223a", "getpid with bit 32 of the number (allowed)", by_high_number, .call = {SYS_getpid}),
    ROW("223b", "unshare CLONE_NEWUSER with bit 32 of the number", by_high_number,
        .call = {SYS_unshare, CLONE_NEWUSER}),
    ROW("223c", "io_uring_setup with bit 32 of the number", by_high_number, .reached = EFAULT,
        .call = {NR_io_uring_setup, 0, 0}),
    END_OF_TABLE,
};
