/*
 * Rows 118, 147 and 151: what a process of the cage has got from the runner. The outcome of a row of 151 is
 * the value itself. What main.c would change (descriptors, SIGALRM, the process group) is remembered first.
 */
#include "attack.h"

#include <dirent.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <termios.h>

enum { DESCRIPTORS = 256, TARGET = 256 };

static struct {
    int count;
    int number[DESCRIPTORS];
    char target[DESCRIPTORS][TARGET];
    int error;
    char status[4096];
    pid_t process, group, session, parent;
    int signal_of_parent;
} at_start;

void remember_inherited(void)
{
    char path[64];
    DIR *folder = opendir("/proc/self/fd");
    at_start.process = getpid();
    at_start.parent = getppid();
    at_start.group = getpgrp();
    at_start.session = getsid(0);
    prctl(PR_GET_PDEATHSIG, &at_start.signal_of_parent); /* no child inherits it, PR_SET_PDEATHSIG in prctl(2) */
    if (!folder) {
        at_start.error = errno;
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder)) && at_start.count < DESCRIPTORS;) {
        int number = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || number == dirfd(folder))
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", number);
        ssize_t length = readlink(path, at_start.target[at_start.count], TARGET - 1);
        at_start.target[at_start.count][length > 0 ? length : 0] = '\0';
        at_start.number[at_start.count++] = number;
    }
    closedir(folder);
    read_start("/proc/self/status", at_start.status, sizeof at_start.status, NULL);
}

/* More than 0, 1, 2 and what was declared: LISTEN_FDS many from 3 on, sd_listen_fds(3). */
static void leaked_descriptors(const struct attack *attack)
{
    const char *declared = getenv("LISTEN_FDS");
    int usual = 3 + (declared ? atoi(declared) : 0);
    struct words all = {0};
    int leaked = 0;
    (void)attack;
    if (at_start.error)
        refused(at_start.error, "path=/proc/self/fd");
    for (int at = 0; at < at_start.count; at++) {
        add_word(&all, "%d=%s", at_start.number[at], at_start.target[at]);
        leaked += at_start.number[at] >= usual;
    }
    if (leaked)
        done("leaked=%d fds=%s", leaked, all.text);
    conclude("not-visible", "leaked=0 fds=%s", all.text);
}

/* The kernel says "(unreachable)" for a folder outside our root, getcwd(2). */
static void working_directory(const struct attack *attack)
{
    char path[4096] = "";
    (void)attack;
    if (syscall(SYS_getcwd, path, sizeof path) < 0)
        refused(errno, "call=getcwd");
    if (path[0] != '/')
        done("cwd=%s", path);
    conclude("not-visible", "cwd=%s", path);
}

/* A folder that was left open is a way out of the root, whatever it is. */
static void inherited_folders(const struct attack *attack)
{
    struct stat about;
    struct words found = {0};
    (void)attack;
    for (int at = 0; at < at_start.count; at++)
        if (fstat(at_start.number[at], &about) == 0 && S_ISDIR(about.st_mode))
            add_word(&found, "%d=%s", at_start.number[at], at_start.target[at]);
    if (found.count)
        done("folders=%s", found.text);
    conclude("not-visible", "folders=0");
}

static int inherited_terminal(void)
{
    struct termios settings;
    for (int at = 0; at < at_start.count; at++)
        if (tcgetattr(at_start.number[at], &settings) == 0)
            return at_start.number[at];
    return -1;
}

/* No byte is given (NULL), so nothing is typed: EFAULT comes after the rights (drivers/tty/tty_io.c). */
static void push_into_terminal(const struct attack *attack)
{
    int terminal = inherited_terminal();
    if (terminal < 0)
        conclude("not-visible", "terminal=none");
    judge(syscall(SYS_ioctl, terminal, attack->value, NULL), EFAULT, "ioctl");
}

static void has_terminal(const struct attack *attack)
{
    (void)attack;
    int terminal = inherited_terminal();
    if (terminal < 0)
        conclude("not-visible", "terminal=none");
    done("fd=%d", terminal);
}

static void open_terminal(const struct attack *attack)
{
    (void)attack;
    judge(open("/dev/tty", O_RDWR | O_CLOEXEC), 0, "/dev/tty"); /* ENXIO: none, tty(4) */
}

/* A line of /proc/self/status as it was at the start. */
static void status_line(const struct attack *attack)
{
    char wanted[64], value[512] = "";
    snprintf(wanted, sizeof wanted, "\n%s:", attack->text);
    char *line = strstr(at_start.status, wanted);
    if (!line)
        conclude("none", "line=%s", attack->text);
    line += strlen(wanted);
    line += strspn(line, "\t ");
    snprintf(value, sizeof value, "%.*s", (int)strcspn(line, "\n"), line);
    for (char *at = value; *at; at++)
        if (*at == ' ' || *at == '\t')
            *at = ',';
    conclude(value[0] ? value : "none", "line=%s", attack->text);
}

static void limit(const struct attack *attack)
{
    struct rlimit found;
    char soft[32] = "unlimited", hard[32] = "unlimited", both[80];
    getrlimit((__rlimit_resource_t)attack->value, &found);
    if (found.rlim_cur != RLIM_INFINITY)
        snprintf(soft, sizeof soft, "%llu", (unsigned long long)found.rlim_cur);
    if (found.rlim_max != RLIM_INFINITY)
        snprintf(hard, sizeof hard, "%llu", (unsigned long long)found.rlim_max);
    snprintf(both, sizeof both, "%s:%s", soft, hard);
    conclude(both, "limit=%s", attack->text);
}

static _Noreturn void number(long value, const char *what)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", value);
    conclude(text, "what=%s", what);
}

static void file_value(const struct attack *attack)
{
    char text[256];
    int error = read_start(attack->text, text, sizeof text, NULL);
    if (error)
        refused(error, "path=%s", attack->text);
    text[strcspn(text, " \n")] = '\0';
    conclude(text[0] ? text : "empty", "path=%s", attack->text);
}

static void get_by_prctl(const struct attack *attack)
{
    long value = prctl((int)attack->value, 0, 0, 0, 0);
    if (value < 0)
        refused(errno, "call=prctl");
    number(value, attack->text);
}

static void remembered(const struct attack *attack)
{
    switch (attack->value) {
    case 0: number(getpriority(PRIO_PROCESS, 0), "nice");
    case 1: number(sched_getscheduler(0), "policy");
    case 2: number(syscall(SYS_ioprio_get, 1, 0), "ioprio");
    case 3: conclude(at_start.session == at_start.process ? "leader" : "member", "pid=%d sid=%d pgid=%d ppid=%d",
                     at_start.process, at_start.session, at_start.group, at_start.parent);
    case 4: number(syscall(SYS_personality, 0xffffffffL), "personality");
    default: number(at_start.signal_of_parent, "pdeathsig");
    }
}

/* Type, owner and name of the session's key ring, keyctl_describe(3); its holding is row 103d. */
static void session_ring(const struct attack *attack)
{
    char text[256] = "";
    (void)attack;
    if (syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text - 1) < 0)
        refused(errno, "call=keyctl");
    for (char *at = text; *at; at++)
        if (*at == ' ')
            *at = '?';
    conclude(text, "what=keyring");
}

/* How many variables there are, and their names, not their values. */
static void variables(const struct attack *attack)
{
    extern char **environ;
    struct words names = {0};
    char count[16];
    (void)attack;
    for (char **variable = environ; *variable; variable++)
        add_word(&names, "%.*s", (int)strcspn(*variable, "="), *variable);
    snprintf(count, sizeof count, "%d", names.count);
    conclude(count, "names=%s", names.text);
}

#define STATUS(the_number, line) ROW(the_number, line " in /proc/self/status", status_line, .text = line)
#define LIMIT(the_number, name) ROW(the_number, "limit " #name, limit, .text = #name, .value = RLIMIT_##name)

const struct attack inherited_attacks[] = {
    ROW("118a", "a terminal among the descriptors", has_terminal),
    ROW("118b", "TIOCSTI on an inherited terminal", push_into_terminal, .value = TIOCSTI),
    ROW("118c", "TIOCLINUX on an inherited terminal", push_into_terminal, .value = TIOCLINUX),
    ROW("118d", "TIOCSTI with bit 32 on an inherited terminal", push_into_terminal, .value = TIOCSTI | 1L << 32),
    ROW("118e", "open /dev/tty", open_terminal),
    ROW("147a", "descriptors beyond 0, 1, 2 and the declared", leaked_descriptors),
    ROW("147b", "working directory outside the root", working_directory),
    ROW("147c", "folders among the descriptors", inherited_folders),
    STATUS("151a", "Umask"),
    LIMIT("151b", NOFILE),
    LIMIT("151c", CORE),
    LIMIT("151d", NPROC),
    LIMIT("151e", MEMLOCK),
    LIMIT("151f", STACK),
    LIMIT("151g", AS),
    LIMIT("151h", FSIZE),
    LIMIT("151i", SIGPENDING),
    LIMIT("151j", MSGQUEUE),
    LIMIT("151k", RTPRIO),
    LIMIT("151l", NICE),
    LIMIT("151m", CPU),
    ROW("151n", "nice value", remembered, .value = 0),
    ROW("151o", "oom_score_adj", file_value, .text = "/proc/self/oom_score_adj"),
    STATUS("151p", "SigBlk"),
    STATUS("151q", "SigIgn"),
    ROW("151r", "leader of a session", remembered, .value = 3),
    ROW("151s", "session key ring", session_ring),
    ROW("151t", "securebits", get_by_prctl, .text = "securebits", .value = PR_GET_SECUREBITS),
    STATUS("151u", "Cpus_allowed_list"),
    ROW("151v", "timer slack in nanoseconds", get_by_prctl, .text = "timerslack", .value = PR_GET_TIMERSLACK),
    ROW("151w", "dumpable", get_by_prctl, .text = "dumpable", .value = PR_GET_DUMPABLE),
    STATUS("151x", "NoNewPrivs"),
    STATUS("151y", "Seccomp"),
    STATUS("151z", "Groups"),
    STATUS("151aa", "Uid"),
    STATUS("151ab", "Gid"),
    STATUS("151ac", "CapInh"),
    STATUS("151ad", "CapPrm"),
    STATUS("151ae", "CapEff"),
    STATUS("151af", "CapBnd"),
    STATUS("151ag", "CapAmb"),
    STATUS("151ah", "SigPnd"),
    STATUS("151ai", "ShdPnd"),
    STATUS("151aj", "SigCgt"),
    STATUS("151ak", "Mems_allowed_list"),
    STATUS("151al", "THP_enabled"),
    STATUS("151am", "Seccomp_filters"),
    STATUS("151an", "NSpid"),
    ROW("151ao", "policy of the scheduler", remembered, .value = 1),
    ROW("151ap", "priority of I/O", remembered, .value = 2),
    ROW("151aq", "personality", remembered, .value = 4),
    ROW("151ar", "signal at the parent's death", remembered, .value = 5),
    ROW("151as", "keep capabilities", get_by_prctl, .text = "keepcaps", .value = PR_GET_KEEPCAPS),
    ROW("151at", "coredump_filter", file_value, .text = "/proc/self/coredump_filter"),
    ROW("151au", "loginuid", file_value, .text = "/proc/self/loginuid"),
    ROW("151av", "autogroup", file_value, .text = "/proc/self/autogroup"),
    ROW("151aw", "label of the security module", file_value, .text = "/proc/self/attr/current"),
    ROW("151ax", "variables", variables),
    END_OF_TABLE,
};
