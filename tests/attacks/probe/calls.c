/*
 * Section 5 of the list: system calls of the administrator and of the kernel's wider surface (103-109, 116,
 * 208, 221). Each is made with arguments that fail after the check of rights, or that change nothing; the
 * errno that shows that it was passed is `reached`.
 */
#include "attack.h"

#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <linux/keyctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

#define CALL(the_number, the_title, the_errno, ...) \
    ROW(the_number, the_title, attempt_call, .reached = the_errno, .text = "call", .call = {__VA_ARGS__})

static char room[8192];

/* clock_adjtime(2): a tick that is out of range is EINVAL after CAP_SYS_TIME (kernel/time/timekeeping.c). */
static struct timex bad_tick = {.modes = ADJ_TICK, .tick = 1};
/* A time zone that is out of range: EINVAL after the right (kernel/time/time.c). */
static struct timezone bad_zone = {.tz_minuteswest = 100000};
/*
 * 1970: valid, but before the machine booted, so the clock is left alone and it is EINVAL after the right
 * (do_settimeofday64, since Linux 4.3).
 */
static struct timespec before_boot = {.tv_sec = 0, .tv_nsec = 1};

/* Sleeps and real-time alarms of a suspended machine need CAP_WAKE_ALARM, timer_create(2). */
static void wake_alarm(const struct attack *attack)
{
    timer_t timer;
    (void)attack;
    judge(timer_create(CLOCK_BOOTTIME_ALARM, NULL, &timer), 0, "CLOCK_BOOTTIME_ALARM");
}

static void kernel_log(const struct attack *attack)
{
    (void)attack;
    long length = syscall(SYS_syslog, 3, room, sizeof room); /* SYSLOG_ACTION_READ_ALL, takes nothing away */
    if (length < 0)
        refused(errno, "call=syslog");
    done("bytes=%ld", length);
}

/* Ports of the machine: 0x80 is used by nobody; given back at once. ioperm(2), iopl(2). */
static void machine_ports(const struct attack *attack)
{
    long result = attack->value ? syscall(SYS_iopl, 3) : syscall(SYS_ioperm, 0x80, 1, 1);
    int error = errno;
    if (result == 0)
        attack->value ? syscall(SYS_iopl, 0) : syscall(SYS_ioperm, 0x80, 1, 0);
    errno = error;
    judge(result, 0, attack->value ? "iopl" : "ioperm");
}

/* In a session of its own there is no terminal to hang up, vhangup(2). */
static void hang_up(const struct attack *attack)
{
    int ends[2], told[2] = {-1, EIO};
    (void)attack;
    if (pipe2(ends, O_CLOEXEC) < 0)
        refused(errno, "call=pipe2");
    pid_t child = fork();
    if (child == 0) {
        setsid();
        errno = 0;
        told[0] = (int)syscall(SYS_vhangup);
        told[1] = errno;
        _exit(write(ends[1], told, sizeof told) < 0);
    }
    if (child < 0 || read(ends[0], told, sizeof told) != sizeof told)
        refused(errno, "call=fork");
    wait_for(child);
    errno = told[1];
    judge(told[0], 0, "vhangup");
}

/* The quota of user 0 on "/": asked, not set; the right comes before what the filesystem can. */
static void quota(const struct attack *attack)
{
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)attack;
    if (root < 0)
        refused(errno, "path=/");
    judge(syscall(NR_quotactl_fd, root, 0x800007 << 8, 0, room), 0, "quotactl_fd");
}

/* "return 0" as a program for sockets. */
static void load_program(const struct attack *attack)
{
    static const uint64_t program[] = {0xb7, 0x95}; /* r0 = 0; exit */
    union bpf_attr attributes = {0};
    if (attack->value == BPF_PROG_LOAD) {
        attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
        attributes.insns = (uint64_t)(uintptr_t)program;
        attributes.insn_cnt = 2;
        attributes.license = (uint64_t)(uintptr_t) "GPL";
    } else if (attack->value == BPF_MAP_CREATE) {
        attributes.map_type = BPF_MAP_TYPE_ARRAY;
        attributes.key_size = attributes.value_size = 4;
        attributes.max_entries = 1;
    }
    judge(syscall(SYS_bpf, attack->value, &attributes, sizeof attributes), 0, "bpf");
}

static void count_events(const struct attack *attack)
{
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event,
                                    .config = PERF_COUNT_SW_TASK_CLOCK};
    event.exclude_kernel = event.exclude_hv = attack->value == 0;
    int process = attack->value ? -1 : 0, cpu = attack->value ? 0 : -1;
    judge(syscall(SYS_perf_event_open, &event, process, cpu, -1, 0), 0, "perf_event_open");
}

/* A key in the ring of this process alone, which ends with it, keyrings(7). */
static void add_key(const struct attack *attack)
{
    (void)attack;
    judge(syscall(SYS_add_key, "user", "attack", "x", 1, KEY_SPEC_PROCESS_KEYRING), 0, "add_key");
}

/* What the session's ring, which was inherited, holds. */
static void read_session_ring(const struct attack *attack)
{
    int32_t keys[256];
    struct words found = {0};
    long length = syscall(SYS_keyctl, KEYCTL_READ, KEY_SPEC_SESSION_KEYRING, keys, sizeof keys);
    (void)attack;
    if (length < 0)
        refused(errno, "call=keyctl");
    for (size_t at = 0; at < (size_t)length / 4 && at < 256; at++)
        add_word(&found, "%x", (unsigned)keys[at]);
    if (found.count)
        done("keys=%s", found.text);
    conclude("not-visible", "keys=0");
}

/* The persona is read back, personality(2). */
static void take_personality(const struct attack *attack)
{
    long before = syscall(SYS_personality, 0xffffffffL);
    if (before < 0)
        refused(errno, "call=personality-get");
    if (syscall(SYS_personality, attack->value) < 0)
        refused(errno, "call=personality");
    long after = syscall(SYS_personality, 0xffffffffL);
    if (after == (int)attack->value)
        done("before=%lx after=%lx", before, after);
    conclude("unchanged", "personality=%lx", after);
}

const struct attack call_attacks[] = {
    CALL("103a", "keyctl: number of the session's key ring", 0, SYS_keyctl,
         KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0),
    ROW("103b", "add_key", add_key),
    CALL("103c", "request_key", ENOKEY, SYS_request_key, (long)"user", (long)"attack-none", 0, 0),
    ROW("103d", "keys that were inherited", read_session_ring),
    CALL("103e", "keyctl: ring of the user", 0, SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0),
    CALL("103f", "keyctl: new session ring", 0, SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0),
    ROW("104a", "bpf: load a program", load_program, .value = BPF_PROG_LOAD),
    ROW("104b", "bpf: make a map", load_program, .value = BPF_MAP_CREATE),
    /* The next id after 0: CAP_SYS_ADMIN first, bpf(2). */
    ROW("104c", "bpf: list programs", load_program, .value = BPF_PROG_GET_NEXT_ID),
    ROW("104d", "perf events of ourselves", count_events),
    ROW("104e", "perf events of a whole CPU", count_events, .value = 1),
    CALL("106a", "io_uring_setup", 0, NR_io_uring_setup, 4, (long)room),
    /* EBADF: the call is open, without a ring there is nothing to do. No right is asked. */
    CALL("106b", "io_uring_enter", 0, NR_io_uring_enter, -1, 0, 0, 0, 0, 0),
    CALL("106c", "io_uring_register", 0, NR_io_uring_register, -1, 0, 0, 0),
    /* Bad flags: EINVAL after CAP_SYS_BOOT (kernel/kexec.c); no segment is ever looked at. */
    CALL("107a", "kexec_load", EINVAL, SYS_kexec_load, 0, 1, 0, 0xff00),
    CALL("107b", "kexec_file_load", EINVAL, SYS_kexec_file_load, -1, -1, 0, 0, 0xff00),
    /* No image: ENOEXEC or EFAULT after CAP_SYS_MODULE (kernel/module/main.c). */
    CALL("107c", "init_module", ENOEXEC, SYS_init_module, 0, 0, (long)""),
    CALL("107d", "finit_module", EBADF, SYS_finit_module, -1, (long)"", 0),
    CALL("107e", "delete_module", ENOENT, SYS_delete_module, (long)"attack_none", 04000),
    /* Wrong magic: EINVAL after CAP_SYS_BOOT (kernel/reboot.c). */
    CALL("109a", "reboot", EINVAL, SYS_reboot, 0, 0, 0, 0),
    CALL("109b", "swapon", ENOENT, SYS_swapon, (long)"/proc/nothing", 0),
    CALL("109c", "swapoff", ENOENT, SYS_swapoff, (long)"/proc/nothing"),
    CALL("109d", "acct", ENOENT, SYS_acct, (long)"/proc/nothing"),
    /* The device is looked up before the right: ENOENT says only that the call is open (fs/quota/quota.c). */
    CALL("109e", "quotactl", 0, SYS_quotactl, 0x800007 << 8, (long)"/proc/nothing", 0, (long)room),
    ROW("109f", "quotactl_fd: quota of root", quota),
    ROW("109g", "syslog: read the kernel's log", kernel_log),
    CALL("109h", "settimeofday", EINVAL, SYS_settimeofday, 0, (long)&bad_zone),
    CALL("109i", "clock_settime", EINVAL, SYS_clock_settime, CLOCK_REALTIME, (long)&before_boot),
    CALL("109j", "clock_adjtime", EINVAL, SYS_clock_adjtime, CLOCK_REALTIME, (long)&bad_tick),
    CALL("109k", "adjtimex", EINVAL, SYS_adjtimex, (long)&bad_tick),
    /* A length below 0: EINVAL after the right (kernel/sys.c). */
    CALL("109l", "sethostname", EINVAL, SYS_sethostname, (long)"x", -1),
    CALL("109m", "setdomainname", EINVAL, SYS_setdomainname, (long)"x", -1),
    ROW("109n", "iopl", machine_ports, .value = 1),
    ROW("109o", "ioperm", machine_ports),
    ROW("109p", "vhangup", hang_up),
    ROW("109q", "alarm that wakes the machine", wake_alarm),
    ROW("116a", "personality ADDR_NO_RANDOMIZE", take_personality, .value = ADDR_NO_RANDOMIZE),
    ROW("116b", "personality READ_IMPLIES_EXEC", take_personality, .value = READ_IMPLIES_EXEC),
    ROW("116c", "personality PER_LINUX32", take_personality, .value = PER_LINUX32),
    ROW("116d", "personality MMAP_PAGE_ZERO", take_personality, .value = MMAP_PAGE_ZERO),
    ROW("116e", "personality UNAME26", take_personality, .value = UNAME26),
    /* Reading an empty table changes nothing; 0 is a success, modify_ldt(2). */
    CALL("116f", "modify_ldt: read", 0, SYS_modify_ldt, 0, (long)room, sizeof room),
    CALL("116g", "modify_ldt: write", EINVAL, SYS_modify_ldt, 1, (long)room, 1),
    ROW("207a", "personality ADDR_NO_RANDOMIZE with bit 40", take_personality, .value = ADDR_NO_RANDOMIZE | 1L << 40),
    CALL("208a", "prctl: dumpable on", 0, SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0),
    CALL("208b", "prctl: strict seccomp", EINVAL, SYS_prctl, PR_SET_SECCOMP, 99, 0, 0, 0),
    CALL("208c", "prctl: move the heap (PR_SET_MM)", EINVAL, SYS_prctl, PR_SET_MM, PR_SET_MM_START_BRK, 0, 0, 0),
    CALL("208d", "prctl: any tracer", 0, SYS_prctl, PR_SET_PTRACER, -1, 0, 0, 0),
    CALL("208e", "prctl: securebits 0", 0, SYS_prctl, PR_SET_SECUREBITS, 0, 0, 0, 0),
    CALL("208f", "prctl: drop from the bounding set", 0, SYS_prctl, PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0),
    CALL("208g", "prctl: raise ambient", 0, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0),
    CALL("208h", "prctl: keep capabilities", 0, SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0),
    CALL("208i", "prctl: reaper of its children", 0, SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0),
    CALL("208j", "prctl: I/O flusher", 0, SYS_prctl, 57, 1, 0, 0, 0),
    CALL("208k", "prctl: timer slack of 1 ns", 0, SYS_prctl, PR_SET_TIMERSLACK, 1, 0, 0, 0),
    CALL("208l", "prctl: new core cookie", 0, SYS_prctl, 62, 1, 0, 0, 0),
    CALL("221a", "lsm_list_modules", E2BIG, NR_lsm_list_modules, (long)room, (long)(room + 4096), 0),
    CALL("221b", "lsm_set_self_attr", 0, NR_lsm_set_self_attr, 100, (long)room, 32, 0),
    /* /proc keeps no attributes: EOPNOTSUPP after CAP_SYS_ADMIN (security/commoncap.c). */
    CALL("221c", "setxattrat security.x on /proc", EOPNOTSUPP, NR_setxattrat, AT_FDCWD, (long)"/proc", 0,
         (long)"security.x", (long)room, 16),
    CALL("221d", "file_getattr of /", 0, NR_file_getattr, AT_FDCWD, (long)"/", (long)room, 24, 0),
    CALL("221e", "landlock_create_ruleset (allowed)", 0, NR_landlock_create_ruleset, 0, 0, 1),
    /* Called by hand it ends in SIGILL: then the call is open (arch/x86/kernel/uprobes.c). */
    CALL("221f", "uretprobe", 0, NR_uretprobe, 0),
    CALL("221g", "map_shadow_stack", 0, NR_map_shadow_stack, 0, 4096, 0),
    CALL("221h", "lookup_dcookie (gone)", 0, SYS_lookup_dcookie, 1, (long)room, 16),
    CALL("221i", "uselib (gone)", 0, SYS_uselib, (long)"/proc/nothing"),
    CALL("221j", "nfsservctl (gone)", 0, SYS_nfsservctl, 0, 0, 0),
    CALL("221k", "set_mempolicy of the default", 0, SYS_set_mempolicy, 0, 0, 0),
    CALL("221l", "fanotify_init", 0, SYS_fanotify_init, 0, O_RDONLY),
    CALL("221m", "fanotify_init that reports ids", 0, SYS_fanotify_init, 0x200, O_RDONLY),
    CALL("221n", "sysfs", 0, SYS_sysfs, 3),
    CALL("221o", "file_setattr of what is not there", 0, NR_file_setattr, AT_FDCWD,
         (long)"/proc/nothing", (long)room, 24, 0),
    END_OF_TABLE,
};
