/*
 * Section 2 of the list, and 211: what can be done to another process by its number. The rows of 22, 23 and
 * 29 name the victim, those of 211 pid 1, which in a cage is its init.
 *
 * Nothing harms the target where it succeeds: signals are ones that are ignored unless asked for (signal(7)),
 * values are written back as they were, addresses are such that nothing is written.
 */
#include "attack.h"

#include <linux/kcmp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

static pid_t target(const struct attack *attack)
{
    return atoi(expand(attack->text));
}

/* A signal that does nothing where it is not asked for; pid 1 gets none, only the check of rights. */
static int harmless(pid_t process)
{
    return process == 1 ? 0 : SIGWINCH;
}

static void by_kill(const struct attack *attack)
{
    pid_t process = target(attack);
    judge(kill(process, harmless(process)), 0, "kill");
}

static void by_tgkill(const struct attack *attack)
{
    pid_t process = target(attack);
    judge(syscall(SYS_tgkill, process, process, harmless(process)), 0, "tgkill");
}

static void by_tkill(const struct attack *attack)
{
    pid_t process = target(attack);
    judge(syscall(SYS_tkill, process, harmless(process)), 0, "tkill");
}

static void by_pidfd_open(const struct attack *attack)
{
    judge(syscall(NR_pidfd_open, target(attack), 0), 0, "pidfd_open");
}

/* A pidfd, or failing that a folder of /proc, which pidfd_send_signal(2) takes too. */
static void by_pidfd_signal(const struct attack *attack)
{
    char path[64];
    pid_t process = target(attack);
    int handle = (int)syscall(NR_pidfd_open, process, 0), error = errno;
    if (handle < 0) {
        snprintf(path, sizeof path, "/proc/%d", process);
        handle = open(path, O_DIRECTORY | O_CLOEXEC);
    }
    if (handle < 0)
        refused(error, "call=pidfd_open");
    judge(syscall(NR_pidfd_send_signal, handle, harmless(process), NULL, 0), 0, "pidfd_send_signal");
}

static void by_queue(const struct attack *attack)
{
    pid_t process = target(attack);
    siginfo_t information = {.si_signo = harmless(process), .si_code = SI_QUEUE};
    judge(syscall(SYS_rt_sigqueueinfo, process, harmless(process), &information), 0, "rt_sigqueueinfo");
}

/* fcntl(2): the owner of a descriptor gets SIGIO; a number that is not there is ESRCH. */
static void by_owner(const struct attack *attack)
{
    pid_t process = target(attack);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        refused(errno, "call=pipe2");
    judge(fcntl(ends[0], F_SETOWN, process), 0, "F_SETOWN");
}

static bool count_foreign(pid_t process, void *context)
{
    char path[64], text[4096];
    struct words *others = context;
    snprintf(path, sizeof path, "/proc/%d/status", process);
    if (read_start(path, text, sizeof text, NULL) != 0)
        return false;
    char *line = strstr(text, "\nUid:");
    unsigned uid = 0;
    if (line && sscanf(line, "\nUid: %u", &uid) == 1 && uid != getuid() && process != 1)
        add_word(others, "%d", process);
    return false;
}

/* Processes of other users in /proc; pid 1 is the cage's own init and not counted. */
static void foreign_processes(const struct attack *attack)
{
    (void)attack;
    struct words others = {0};
    for_each_process(count_foreign, &others);
    if (others.count)
        done("foreign=%d pids=%.200s", others.count, others.text);
    conclude("not-visible", "foreign=0");
}

/* PTRACE_SEIZE does not stop the process, and all is undone when we end, ptrace(2). */
static void by_seize(const struct attack *attack)
{
    judge(ptrace(PTRACE_SEIZE, target(attack), NULL, NULL), 0, "PTRACE_SEIZE");
}

static void by_attach(const struct attack *attack)
{
    pid_t process = target(attack);
    int status;
    if (ptrace(PTRACE_ATTACH, process, NULL, NULL) < 0)
        refused(errno, "what=PTRACE_ATTACH");
    waitpid(process, &status, __WALL);
    ptrace(PTRACE_DETACH, process, NULL, NULL);
    done("what=PTRACE_ATTACH");
}

/* Address 1 is mapped nowhere: EFAULT comes after the check of rights, process_vm_readv(2). */
static void by_vm(const struct attack *attack)
{
    char byte = 0;
    struct iovec here = {&byte, 1}, there = {(void *)1, 1};
    long number = attack->value ? SYS_process_vm_writev : SYS_process_vm_readv;
    judge(syscall(number, target(attack), &here, 1, &there, 1, 0), EFAULT,
          attack->value ? "process_vm_writev" : "process_vm_readv");
}

static void by_proc_file(const struct attack *attack)
{
    char path[128], buffer[4096];
    size_t length = 0;
    const char *name = attack->more;
    snprintf(path, sizeof path, "/proc/%d/%s", target(attack), name);
    if (strcmp(name, "mem") == 0) {
        /* /proc/PID/mem: to open it is to be let in; nothing is written. */
        judge(open(path, O_RDWR | O_CLOEXEC), 0, path);
    }
    if (strcmp(name, "root") == 0 || strcmp(name, "cwd") == 0 || strcmp(name, "exe") == 0) {
        ssize_t size = readlink(path, buffer, sizeof buffer - 1);
        if (size < 0)
            refused(errno, "path=%s", path);
        buffer[size] = '\0';
        done("path=%s target=%s", path, buffer);
    }
    if (strcmp(name, "fd") == 0 || strcmp(name, "task") == 0) {
        struct attack list = {.text = path};
        attempt_list(&list);
    }
    int error = read_start(path, buffer, sizeof buffer, &length);
    if (error)
        refused(error, "path=%s", path);
    if (length == 0)
        conclude("not-visible", "bytes=0 path=%s", path);
    done("bytes=%zu path=%s text=%.60s", length, path, buffer);
}

/* The names of the variables of pid 1, not their values. */
static void environment_of_init(const struct attack *attack)
{
    char buffer[32768];
    size_t length = 0;
    struct words names = {0};
    (void)attack;
    int error = read_start("/proc/1/environ", buffer, sizeof buffer, &length);
    if (error)
        refused(error, "path=/proc/1/environ");
    for (size_t at = 0; at < length; at += strlen(buffer + at) + 1)
        add_word(&names, "%.*s", (int)strcspn(buffer + at, "="), buffer + at);
    if (names.count == 0)
        conclude("not-visible", "bytes=0");
    done("names=%s", names.text);
}

static void by_kcmp(const struct attack *attack)
{
    judge(syscall(SYS_kcmp, target(attack), getpid(), KCMP_VM, 0, 0), 0, "kcmp");
}

/* MADV_COLD of nothing: an empty list of ranges is well-formed, process_madvise(2). */
static void by_madvise(const struct attack *attack)
{
    int handle = (int)syscall(NR_pidfd_open, target(attack), 0);
    if (handle < 0)
        refused(errno, "call=pidfd_open");
    struct iovec range = {NULL, 0};
    judge(syscall(NR_process_madvise, handle, &range, 1, MADV_COLD, 0), 0, "process_madvise");
}

/* It only reaps memory of a process that is already dying: EINVAL for one that lives (mm/oom_kill.c). */
static void by_mrelease(const struct attack *attack)
{
    int handle = (int)syscall(NR_pidfd_open, target(attack), 0);
    if (handle < 0)
        refused(errno, "call=pidfd_open");
    judge(syscall(NR_process_mrelease, handle, 0), 0, "process_mrelease");
}

static void by_getfd(const struct attack *attack)
{
    struct words taken = {0};
    int handle = (int)syscall(NR_pidfd_open, target(attack), 0), error = EBADF;
    if (handle < 0)
        refused(errno, "call=pidfd_open");
    for (int descriptor = 0; descriptor < 64; descriptor++) {
        int copy = (int)syscall(NR_pidfd_getfd, handle, descriptor, 0);
        if (copy >= 0)
            add_word(&taken, "%d", descriptor);
        else if (errno != EBADF)
            error = errno;
    }
    if (taken.count)
        done("descriptors=%s", taken.text);
    refused(error, "call=pidfd_getfd");
}

static void by_robust_list(const struct attack *attack)
{
    void *head;
    size_t length;
    judge(syscall(SYS_get_robust_list, target(attack), &head, &length), 0, "get_robust_list");
}

/* No page is named, so none moves; the process is looked up first, move_pages(2). */
static void by_move_pages(const struct attack *attack)
{
    judge(syscall(SYS_move_pages, target(attack), 0, NULL, NULL, NULL, 0), 0, "move_pages");
}

static void by_prlimit(const struct attack *attack)
{
    struct rlimit limit;
    pid_t process = target(attack);
    if (prlimit(process, RLIMIT_NOFILE, NULL, &limit) < 0)
        refused(errno, "what=prlimit-get");
    judge(prlimit(process, RLIMIT_NOFILE, &limit, NULL), 0, "prlimit-same");
}

static void by_affinity(const struct attack *attack)
{
    cpu_set_t set;
    pid_t process = target(attack);
    if (sched_getaffinity(process, sizeof set, &set) < 0)
        refused(errno, "what=sched_getaffinity");
    judge(sched_setaffinity(process, sizeof set, &set), 0, "sched_setaffinity-same");
}

static void by_priority(const struct attack *attack)
{
    pid_t process = target(attack);
    errno = 0;
    int nice_value = getpriority(PRIO_PROCESS, (id_t)process);
    if (errno)
        refused(errno, "what=getpriority");
    judge(setpriority(PRIO_PROCESS, (id_t)process, nice_value), 0, "setpriority-same");
}

/* PR_SCHED_CORE_SHARE_FROM takes the core cookie of another, prctl PR_SCHED_CORE (prctl(2)). */
static void by_core_cookie(const struct attack *attack)
{
    judge(syscall(SYS_prctl, 62, 3, target(attack), 0, 0), 0, "PR_SCHED_CORE_SHARE_FROM");
}

#define VICTIM .text = "$VICTIM_PID"
#define INIT .text = "1"

const struct attack process_attacks[] = {
    ROW("22a", "signal to the victim by kill", by_kill, VICTIM),
    ROW("22b", "signal to the victim by tgkill", by_tgkill, VICTIM),
    ROW("22c", "pidfd_open of the victim", by_pidfd_open, VICTIM),
    ROW("22d", "signal to the victim by pidfd_send_signal", by_pidfd_signal, VICTIM),
    ROW("22e", "signal to the victim by rt_sigqueueinfo", by_queue, VICTIM),
    ROW("22f", "signal to the victim by tkill", by_tkill, VICTIM),
    ROW("22g", "make the victim owner of a descriptor (F_SETOWN)", by_owner, VICTIM),
    ROW("22h", "command line of the victim in /proc", by_proc_file, VICTIM, .more = "cmdline"),
    ROW("22i", "processes of other users in /proc", foreign_processes),
    ROW("23a", "ptrace attach to the victim", by_attach, VICTIM),
    ROW("23b", "process_vm_readv of the victim", by_vm, VICTIM),
    ROW("23c", "process_vm_writev to the victim", by_vm, VICTIM, .value = 1),
    ROW("23d", "open the victim's memory in /proc", by_proc_file, VICTIM, .more = "mem"),
    ROW("23e", "kcmp with the victim", by_kcmp, VICTIM),
    ROW("23f", "the victim's variables in /proc", by_proc_file, VICTIM, .more = "environ"),
    ROW("23g", "the victim's descriptors in /proc", by_proc_file, VICTIM, .more = "fd"),
    ROW("23h", "process_madvise of the victim", by_madvise, VICTIM),
    ROW("23i", "get_robust_list of the victim", by_robust_list, VICTIM),
    ROW("23j", "move_pages of the victim", by_move_pages, VICTIM),
    ROW("23k", "prlimit of the victim", by_prlimit, VICTIM),
    ROW("23l", "process_mrelease of the victim", by_mrelease, VICTIM),
    ROW("25a", "variables of pid 1", environment_of_init),
    ROW("25b", "command line of pid 1", by_proc_file, INIT, .more = "cmdline"),
    ROW("25c", "memory map of pid 1", by_proc_file, INIT, .more = "maps"),
    ROW("25d", "descriptors of pid 1", by_proc_file, INIT, .more = "fd"),
    ROW("25e", "root of pid 1", by_proc_file, INIT, .more = "root"),
    ROW("25f", "working directory of pid 1", by_proc_file, INIT, .more = "cwd"),
    ROW("25g", "binary of pid 1", by_proc_file, INIT, .more = "exe"),
    ROW("25h", "kernel stack of pid 1", by_proc_file, INIT, .more = "stack"),
    ROW("29f", "affinity of the victim (the same again)", by_affinity, VICTIM),
    ROW("29g", "nice value of the victim (the same again)", by_priority, VICTIM),
    ROW("64a", "pidfd_getfd of the victim's descriptors", by_getfd, VICTIM),
    ROW("64b", "pidfd_getfd of pid 1's descriptors", by_getfd, INIT),
    ROW("211a", "process_vm_readv of pid 1", by_vm, INIT),
    ROW("211b", "process_vm_writev to pid 1", by_vm, INIT, .value = 1),
    ROW("211c", "open the memory of pid 1 in /proc", by_proc_file, INIT, .more = "mem"),
    ROW("211d", "ptrace seize of pid 1", by_seize, INIT),
    ROW("211e", "process_madvise of pid 1", by_madvise, INIT),
    ROW("211f", "kcmp with pid 1", by_kcmp, INIT),
    ROW("211g", "prlimit of pid 1 (the same again)", by_prlimit, INIT),
    ROW("211h", "right to signal pid 1", by_kill, INIT),
    ROW("211i", "affinity of pid 1 (the same again)", by_affinity, INIT),
    ROW("211j", "nice value of pid 1 (the same again)", by_priority, INIT),
    ROW("211k", "core cookie of pid 1", by_core_cookie, INIT),
    ROW("211l", "system call that pid 1 is in", by_proc_file, INIT, .more = "syscall"),
    END_OF_TABLE,
};
