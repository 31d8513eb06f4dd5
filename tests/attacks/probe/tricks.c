/*
 * The rest of section 2, and rows 140 and 148: what a process does to be missed, to look like something
 * else, to run before others, and to hold those up that look at it.
 */
#include "attack.h"

#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/*
 * Double fork, a session of its own, all closed, SIGTERM ignored: the classic daemon. It tells its number
 * and its new parent, and goes by itself after ATTACK_LINGER seconds. The test may stop the cage meanwhile.
 */
static void escape_as_daemon(const struct attack *attack)
{
    int ends[2], told[2] = {0, 0};
    (void)attack;
    if (pipe2(ends, O_CLOEXEC) < 0)
        refused(errno, "call=pipe2");
    pid_t middle = fork();
    if (middle < 0)
        refused(errno, "call=fork");
    if (middle == 0) {
        setsid();
        pid_t daemon_process = fork();
        if (daemon_process != 0)
            _exit(daemon_process < 0);
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        struct timespec pause = {.tv_nsec = 50000000};
        nanosleep(&pause, NULL); /* until the parent is gone */
        int tell[2] = {getpid(), getppid()};
        if (write(ends[1], tell, sizeof tell) < 0)
            _exit(1);
        for (int descriptor = 0; descriptor < 64; descriptor++)
            close(descriptor);
        sleep(linger_seconds());
        _exit(0);
    }
    wait_for(middle);
    close(ends[1]);
    if (read(ends[0], told, sizeof told) != sizeof told)
        conclude("killed", "what=daemon");
    done("pid=%d parent=%d seconds=%u", told[0], told[1], linger_seconds());
}

/* A chain: each process forks the next and ends. It races whoever kills by list; bounded by time and count. */
static void fork_chain(const struct attack *attack)
{
    struct timespec begin, now;
    int ends[2];
    long length = 0, limit = limit_or(2000);
    (void)attack;
    if (pipe2(ends, O_CLOEXEC) < 0)
        refused(errno, "call=pipe2");
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t first = fork();
    if (first == 0) {
        for (;;) {
            clock_gettime(CLOCK_MONOTONIC, &now);
            if (++length >= limit || now.tv_sec - begin.tv_sec > (long)linger_seconds())
                break;
            pid_t next = fork();
            if (next != 0)
                _exit(0);
        }
        if (write(ends[1], &length, sizeof length) < 0)
            _exit(1);
        _exit(0);
    }
    close(ends[1]);
    if (first < 0 || read(ends[0], &length, sizeof length) != sizeof length)
        conclude("killed", "what=chain");
    done("generations=%ld", length);
}

static void vfork_and_hold(const struct attack *attack)
{
    (void)attack;
    /* CLONE_VFORK without sharing memory: the parent waits in the kernel until the child ends, clone(2). */
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, 0);
    if (child == 0) {
        sleep(linger_seconds());
        _exit(0);
    }
    judge(child, 0, "CLONE_VFORK");
}

/* Burns numbers until one comes again, up to the limit. */
static void reuse_a_pid(const struct attack *attack)
{
    pid_t first = 0;
    long limit = limit_or(2000), at;
    (void)attack;
    for (at = 0; at < limit; at++) {
        pid_t child = fork();
        if (child < 0)
            refused(errno, "at=%ld", at);
        if (child == 0)
            _exit(0);
        wait_for(child);
        if (at == 0)
            first = child;
        else if (child == first)
            done("pid=%d at=%ld", child, at);
    }
    conclude("unchanged", "at=%ld", at);
}

/* A page of argv that a userfaultfd holds back: whoever reads /proc/PID/cmdline waits for it. */
static void hold_up_readers(const struct attack *attack)
{
    extern char **environ;
    char path[64], text[256];
    struct uffdio_api api = {.api = UFFD_API};
    (void)attack;
    int fault = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fault < 0 || ioctl(fault, UFFDIO_API, &api) < 0)
        refused(errno, "call=userfaultfd");
    snprintf(path, sizeof path, "/proc/%d/cmdline", getpid());
    /* The strings of the command line lie right below those of the variables. */
    uintptr_t page = (uintptr_t)program_invocation_name & ~(uintptr_t)4095;
    struct uffdio_register area = {.range = {page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(fault, UFFDIO_REGISTER, &area) < 0)
        refused(errno, "call=UFFDIO_REGISTER");
    pid_t reader = fork();
    if (reader == 0) {
        sleep(1);
        _exit(read_start(path, text, sizeof text, NULL) ? 1 : 0);
    }
    madvise((void *)page, 4096, MADV_DONTNEED);
    for (int tenth = 0; tenth < 30; tenth++) {
        struct timespec pause = {.tv_nsec = 100000000};
        nanosleep(&pause, NULL);
        if (waitpid(reader, NULL, WNOHANG) == reader)
            conclude("unchanged", "reader=answered");
    }
    kill(reader, SIGKILL);
    done("reader=stalled seconds=2");
}

/* The name and the command line say something else; looked at as others would. With hostile signs too (140). */
static void look_like_another(const struct attack *attack)
{
    char seen[256] = "", wanted[16];
    snprintf(wanted, sizeof wanted, "%s", attack->text);
    if (prctl(PR_SET_NAME, wanted) < 0)
        refused(errno, "call=PR_SET_NAME");
    char *title = program_invocation_name;
    size_t room = strlen(title);
    memset(title, ' ', room);
    memcpy(title, attack->text, strlen(attack->text) < room ? strlen(attack->text) : room);
    read_start("/proc/self/comm", seen, sizeof seen, NULL);
    seen[strcspn(seen, "\n") ? strlen(seen) - 1 : 0] = '\0';
    sleep(attack->value ? linger_seconds() : 0);
    if (strcmp(seen, wanted) == 0)
        done("comm=set argv=%zu-bytes", room);
    conclude("unchanged", "comm=%s", seen);
}

static void hostile_file_name(const struct attack *attack)
{
    (void)attack;
    char *path = own_path("attack-\033]0;x\a\033[2J\n\342\200\256");
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        refused(errno, "call=open");
    sleep(linger_seconds());
    unlink(path);
    done("name=hostile");
}

struct schedule {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice_value;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t clamp_least, clamp_most;
};

/* `value` is the policy, sched(7). What it became is read back; for real-time ones it is then set back. */
static void take_policy(const struct attack *attack)
{
    struct schedule wanted = {.size = sizeof wanted, .policy = (uint32_t)attack->value};
    if (attack->value == SCHED_FIFO || attack->value == SCHED_RR)
        wanted.priority = 1;
    if (attack->value == 6)
        wanted.runtime = 100000, wanted.deadline = wanted.period = 100000000;
    long result = syscall(SYS_sched_setattr, 0, &wanted, 0);
    int error = errno, policy = sched_getscheduler(0);
    struct sched_param usual = {0};
    sched_setscheduler(0, SCHED_OTHER, &usual);
    if (policy == attack->value)
        done("policy=%d", policy);
    if (result == 0)
        conclude("unchanged", "policy=%d", policy);
    refused(error, "policy=%d", policy);
}

static void take_nice(const struct attack *attack)
{
    (void)attack;
    int before = getpriority(PRIO_PROCESS, 0);
    int result = setpriority(PRIO_PROCESS, 0, before - 5), error = errno;
    int after = getpriority(PRIO_PROCESS, 0);
    if (after < before)
        done("before=%d after=%d", before, after);
    if (result == 0)
        conclude("unchanged", "nice=%d", after);
    refused(error, "nice=%d", after);
}

/* Class 1 is real-time; the value holds the class from bit 13 on, ioprio_set(2). */
static void take_io_priority(const struct attack *attack)
{
    (void)attack;
    long result = syscall(SYS_ioprio_set, 1, 0, 1 << 13), error = errno;
    long now = syscall(SYS_ioprio_get, 1, 0);
    if (now >> 13 == 1)
        done("class=%ld", now >> 13);
    if (result == 0)
        conclude("unchanged", "class=%ld", now >> 13);
    refused((int)error, "class=%ld", now >> 13);
}

/* Asks for each possible CPU; more than before is what an attacker wants. */
static void take_all_cpus(const struct attack *attack)
{
    (void)attack;
    cpu_set_t before, all;
    sched_getaffinity(0, sizeof before, &before);
    memset(&all, 0xff, sizeof all);
    if (sched_setaffinity(0, sizeof all, &all) < 0)
        refused(errno, "cpus=%d", CPU_COUNT(&before));
    sched_getaffinity(0, sizeof all, &all);
    if (CPU_COUNT(&all) > CPU_COUNT(&before))
        done("before=%d after=%d", CPU_COUNT(&before), CPU_COUNT(&all));
    conclude("unchanged", "cpus=%d", CPU_COUNT(&all));
}

/* `text` is the file, `value` the number to write; read back. */
static void lower_oom_score(const struct attack *attack)
{
    char before[32] = "", after[32] = "", wanted[32];
    int error = read_start(attack->text, before, sizeof before, NULL);
    if (error)
        refused(error, "path=%s", attack->text);
    snprintf(wanted, sizeof wanted, "%ld", attack->value ? attack->value : atol(before) - 1);
    int file = open(attack->text, O_WRONLY | O_CLOEXEC);
    ssize_t written = file < 0 ? -1 : write(file, wanted, strlen(wanted));
    error = errno;
    read_start(attack->text, after, sizeof after, NULL);
    if (atol(after) < atol(before))
        done("before=%ld after=%ld", atol(before), atol(after));
    if (written >= 0)
        conclude("unchanged", "value=%ld", atol(after));
    refused(error, "value=%ld", atol(after));
}

struct hunt {
    pid_t known[4096];
    int count;
    struct words tried, seized;
};

static bool is_known(pid_t process, struct hunt *hunt)
{
    for (int at = 0; at < hunt->count; at++)
        if (hunt->known[at] == process)
            return true;
    if (hunt->count < 4096)
        hunt->known[hunt->count++] = process;
    return false;
}

static bool remember_one(pid_t process, void *hunt)
{
    is_known(process, hunt);
    return false;
}

static bool seize_one(pid_t process, void *context)
{
    char path[64], name[32] = "";
    struct hunt *hunt = context;
    if (is_known(process, hunt))
        return false;
    long result = ptrace(PTRACE_SEIZE, process, NULL, NULL);
    snprintf(path, sizeof path, "/proc/%d/comm", process);
    read_start(path, name, sizeof name, NULL);
    name[strcspn(name, "\n")] = '\0';
    add_word(&hunt->tried, "%d:%s", process, name);
    if (result == 0)
        add_word(&hunt->seized, "%d:%s", process, name);
    return false;
}

/*
 * An older process of the app waits for one that has become its user but has not yet run the app's program.
 * What is seized is undone as we end; that a process of the app can be is no harm, its name tells.
 */
static void seize_newcomers(const struct attack *attack)
{
    static struct hunt hunt;
    struct timespec begin, now;
    (void)attack;
    for_each_process(remember_one, &hunt);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        for_each_process(seize_one, &hunt);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < (long)linger_seconds());
    if (hunt.seized.count)
        done("seized=%s tried=%s", hunt.seized.text, hunt.tried.text);
    conclude("not-visible", "tried=%s", hunt.tried.count ? hunt.tried.text : "none");
}

const struct attack trick_attacks[] = {
    ROW("26", "double fork, own session, SIGTERM ignored", escape_as_daemon),
    ROW("28", "chain of forks, racing a stop", fork_chain),
    ROW("29a", "real-time policy FIFO", take_policy, .value = SCHED_FIFO),
    ROW("29b", "real-time policy RR", take_policy, .value = SCHED_RR),
    ROW("29c", "policy DEADLINE", take_policy, .value = 6),
    ROW("29d", "nice value lower by 5", take_nice),
    ROW("29e", "real-time class of I/O", take_io_priority),
    ROW("29h", "more CPUs than given", take_all_cpus),
    ROW("31a", "oom_score_adj -1000", lower_oom_score, .text = "/proc/self/oom_score_adj", .value = -1000),
    ROW("31b", "oom_score_adj lower by 1", lower_oom_score, .text = "/proc/self/oom_score_adj"),
    ROW("31c", "oom_adj -17", lower_oom_score, .text = "/proc/self/oom_adj", .value = -17),
    ROW("32", "look like \"swrun: prod ok\"", look_like_another, .text = "swrun: prod ok"),
    ROW("34", "vfork child that holds its parent", vfork_and_hold),
    ROW("35", "use up pids until one comes again", reuse_a_pid),
    ROW("37", "hold up readers of cmdline by userfaultfd", hold_up_readers),
    ROW("140a", "escape sequences in comm and argv", look_like_another, .text = "\033]0;x\a\033[2J\"\\", .value = 1),
    ROW("140b", "escape sequences in a file name", hostile_file_name),
    ROW("148", "seize processes of our user that come up", seize_newcomers),
    END_OF_TABLE,
};
