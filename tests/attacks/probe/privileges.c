/*
 * Section 5 of the list, privileges: programs that raise them, ids and capabilities, what nothing may undo
 * (no_new_privs, seccomp), and rights on files of one's own (228).
 */
#include "attack.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

struct identity {
    unsigned uid, gid;
    unsigned long long capabilities;
};

static bool read_identity(pid_t process, struct identity *identity)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", process);
    if (read_start(path, text, sizeof text, NULL) != 0)
        return false;
    char *uid = strstr(text, "\nUid:"), *gid = strstr(text, "\nGid:"), *capabilities = strstr(text, "\nCapEff:");
    return uid && gid && capabilities && sscanf(uid, "\nUid: %*u %u", &identity->uid) == 1 &&
           sscanf(gid, "\nGid: %*u %u", &identity->gid) == 1 &&
           sscanf(capabilities, "\nCapEff: %llx", &identity->capabilities) == 1;
}

/*
 * Runs a program and looks at its ids right after execve(2): the end of a pipe that is closed at exec is
 * seen, and the program stopped before it has done anything. Both share one CPU and it has the least
 * priority, so it hardly runs on. Tried some times, as it may have ended before.
 */
static bool identity_after_exec(const char *path, struct identity *identity)
{
    cpu_set_t here, all;
    bool seen = false;
    sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    sched_setaffinity(0, sizeof here, &here);
    for (int attempt = 0; attempt < 20 && !seen; attempt++) {
        int ends[2], failed = 0;
        if (pipe2(ends, O_CLOEXEC) < 0)
            break;
        pid_t child = fork();
        if (child == 0) {
            struct sched_param none = {0};
            int nothing = open("/dev/null", O_RDWR);
            dup2(nothing, 0), dup2(nothing, 1), dup2(nothing, 2);
            sched_setscheduler(0, SCHED_IDLE, &none);
            execl(path, path, "--version", (char *)NULL);
            int error = errno;
            if (write(ends[1], &error, sizeof error) < 0)
                _exit(1);
            _exit(127);
        }
        close(ends[1]);
        ssize_t length = read(ends[0], &failed, sizeof failed);
        kill(child, SIGSTOP);
        close(ends[0]);
        if (length == sizeof failed) {
            wait_for(child);
            errno = failed;
            break;
        }
        int status;
        if (child > 0 && waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status)) {
            seen = read_identity(child, identity);
            kill(child, SIGKILL);
            kill(child, SIGCONT);
            wait_for(child);
        }
        errno = ETIME; /* not caught */
    }
    int error = errno;
    sched_setaffinity(0, sizeof all, &all);
    errno = error;
    return seen;
}

static _Noreturn void judge_gain(const char *path)
{
    struct identity after = {0};
    if (!identity_after_exec(path, &after))
        refused(errno, "path=%s", path);
    if (after.uid != geteuid() || after.gid != getegid() || after.capabilities)
        done("path=%s uid=%u gid=%u capabilities=%llx", path, after.uid, after.gid, after.capabilities);
    conclude("unchanged", "path=%s uid=%u gid=%u", path, after.uid, after.gid);
}

/* `text`: places where the program may be, colon separated; the first that is there is run. */
static void run_program(const struct attack *attack)
{
    char places[1024];
    snprintf(places, sizeof places, "%s", attack->text);
    for (char *path = strtok(places, ":"); path; path = strtok(NULL, ":"))
        if (access(path, X_OK) == 0)
            judge_gain(path);
    refused(ENOENT, "places=%s", attack->text);
}

/* All programs with set-user-id, set-group-id or capabilities in the usual folders; any gain ends it. */
static void run_raising_programs(const struct attack *attack)
{
    static const char *const folders[] = {"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/lib/openssh",
                                          "/usr/lib/dbus-1.0", "/usr/libexec"};
    char path[600];
    struct words tried = {0};
    (void)attack;
    for (size_t at = 0; at < sizeof folders / sizeof folders[0]; at++) {
        DIR *folder = opendir(folders[at]);
        for (struct dirent *entry; folder && (entry = readdir(folder));) {
            struct stat about;
            struct identity after = {0};
            snprintf(path, sizeof path, "%s/%s", folders[at], entry->d_name);
            if (lstat(path, &about) < 0 || !S_ISREG(about.st_mode) || access(path, X_OK) < 0)
                continue;
            if (!(about.st_mode & (S_ISUID | S_ISGID)) && getxattr(path, "security.capability", NULL, 0) < 0)
                continue;
            add_word(&tried, "%s", entry->d_name);
            if (identity_after_exec(path, &after) &&
                (after.uid != geteuid() || after.gid != getegid() || after.capabilities))
                done("path=%s uid=%u gid=%u capabilities=%llx", path, after.uid, after.gid, after.capabilities);
        }
        if (folder)
            closedir(folder);
    }
    conclude("unchanged", "tried=%s", tried.count ? tried.text : "none");
}

static char *copy_of_ourselves(mode_t mode)
{
    need("OWN_DIR");
    char *path = own_path("attack-copy");
    struct stat about;
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    if (from < 0 || to < 0 || fstat(from, &about) < 0 || sendfile(to, from, NULL, (size_t)about.st_size) < 0)
        refused(errno, "call=copy");
    close(to);
    close(from);
    if (chmod(path, mode) < 0) {
        int error = errno;
        unlink(path);
        refused(error, "call=chmod");
    }
    return path;
}

static void run_own_setuid(const struct attack *attack)
{
    (void)attack;
    struct identity after = {0};
    char *path = copy_of_ourselves(04755);
    int owner = chown(path, 0, (gid_t)-1), owner_error = errno;
    if (owner == 0 && chmod(path, 04755) < 0)
        owner_error = errno;
    bool seen = identity_after_exec(path, &after);
    int error = errno;
    unlink(path);
    if (!seen)
        refused(error, "call=execve");
    if (after.uid != geteuid() || after.capabilities)
        done("uid=%u", after.uid);
    conclude("unchanged", "uid=%u chown=%s", after.uid, owner == 0 ? "done" : errno_name(owner_error));
}

static void set_file_capabilities(const struct attack *attack)
{
    (void)attack;
    struct vfs_cap_data all = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, .data = {{-1U, 0}, {-1U, 0}}};
    char *path = copy_of_ourselves(0755);
    int result = setxattr(path, "security.capability", &all, sizeof all, 0), error = errno;
    unlink(path);
    errno = error;
    judge(result, 0, "security.capability");
}

/* 0 setuid, 1 setresuid, 2 setgid, 3 setresgid, 4 setfsuid, 5 setfsgid: to 0; looked at afterwards. */
static void become_root(const struct attack *attack)
{
    int result = 0;
    bool was_root = attack->value == 2 || attack->value == 3 || attack->value == 5 ? getegid() == 0 : geteuid() == 0;
    if (was_root)
        conclude("unchanged", "already=0");
    switch (attack->value) {
    case 0: result = setuid(0); break;
    case 1: result = setresuid(0, 0, 0); break;
    case 2: result = setgid(0); break;
    case 3: result = setresgid(0, 0, 0); break;
    case 4: setfsuid(0), result = setfsuid((uid_t)-1) == 0 ? 0 : -1, errno = EPERM; break; /* has no error */
    default: setfsgid(0), result = setfsgid((gid_t)-1) == 0 ? 0 : -1, errno = EPERM;
    }
    judge(result, 0, "become-root");
}

static void take_capabilities(const struct attack *attack)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{-1U, -1U, 0}, {0x1ff, 0x1ff, 0}};
    if (attack->value)
        data[0] = data[1] = (struct __user_cap_data_struct){0, 0, -1U};
    if (syscall(SYS_capset, &head, data) < 0)
        refused(errno, "call=capset");
    syscall(SYS_capget, &head, data);
    if (data[0].effective || data[0].inheritable)
        done("effective=%x inheritable=%x", data[0].effective, data[0].inheritable);
    conclude("unchanged", "effective=0");
}

/* Any capability in any of the five sets, capabilities(7). */
static void capability_sets(const struct attack *attack)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    char text[4096];
    struct words held = {0};
    (void)attack;
    int error = read_start("/proc/self/status", text, sizeof text, NULL);
    if (error)
        refused(error, "path=/proc/self/status");
    for (int at = 0; at < 5; at++) {
        char *line = strstr(text, sets[at]);
        if (line && strtoull(line + 7, NULL, 16))
            add_word(&held, "%s:%llx", sets[at], strtoull(line + 7, NULL, 16));
    }
    if (held.count)
        done("sets=%s", held.text);
    conclude("not-visible", "sets=empty");
}

/* A second filter that allows all: the strictest of all filters still decides, seccomp(2). */
static void loosen_seccomp(const struct attack *attack)
{
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &allow};
    long before = syscall(NR_io_uring_setup, 0, NULL), before_error = errno;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long filter = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, attack->value, &program);
    if (filter < 0)
        refused(errno, "call=seccomp");
    if (attack->value)
        done("listener=%ld", filter);
    long after = syscall(NR_io_uring_setup, 0, NULL);
    if (before == after && before_error == errno)
        conclude("unchanged", "io_uring_setup=%s", errno_name(errno));
    done("before=%s after=%s", errno_name((int)before_error), errno_name(errno));
}

/* chown, modes and attributes of a file of ours: 0 chown to root, 1 set-group-id, 2 immutable, 3.. attributes. */
static void mark_own_file(const struct attack *attack)
{
    char *path = own_path("attack-mark");
    int result = -1, flags = 0, file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat about = {0};
    if (file < 0)
        refused(errno, "path=%s", path);
    switch (attack->value) {
    case 0: result = fchown(file, 0, (gid_t)-1); break;
    case 1: result = fchmod(file, 06755); break;
    case 2:
        result = ioctl(file, FS_IOC_GETFLAGS, &flags);
        flags |= FS_IMMUTABLE_FL;
        if (result == 0 && (result = ioctl(file, FS_IOC_SETFLAGS, &flags)) == 0)
            flags = 0, ioctl(file, FS_IOC_SETFLAGS, &flags);
        break;
    default: result = fsetxattr(file, attack->text, "x", 1, 0);
    }
    int error = errno;
    fstat(file, &about);
    unlink(path);
    errno = error;
    if (attack->value == 1 && result == 0 && !(about.st_mode & (S_ISUID | S_ISGID)))
        conclude("unchanged", "mode=%o", about.st_mode);
    judge(result, 0, "own-file");
}

const struct attack privilege_attacks[] = {
    ROW("95a", "gain by su", run_program, .text = "/bin/su:/usr/bin/su"),
    ROW("95b", "gain by sudo", run_program, .text = "/usr/bin/sudo"),
    ROW("95c", "gain by ping", run_program, .text = "/bin/ping:/usr/bin/ping"),
    ROW("95d", "gain by pkexec", run_program, .text = "/usr/bin/pkexec"),
    ROW("95e", "gain by any set-user-id program", run_raising_programs),
    ROW("95f", "gain by an own 4755 binary", run_own_setuid),
    ROW("95g", "capabilities on an own binary", set_file_capabilities),
    ROW("95h", "setuid 0", become_root),
    ROW("95i", "setresuid 0", become_root, .value = 1),
    ROW("95j", "setgid 0", become_root, .value = 2),
    ROW("95k", "setresgid 0", become_root, .value = 3),
    ROW("95l", "setfsuid 0", become_root, .value = 4),
    ROW("95m", "setfsgid 0", become_root, .value = 5),
    ROW("102a", "capabilities in any of the five sets", capability_sets),
    ROW("102b", "take all capabilities", take_capabilities),
    ROW("102c", "take inheritable capabilities", take_capabilities, .value = 1),
    ROW("115a", "no_new_privs off", attempt_call, .call = {SYS_prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0}),
    ROW("115b", "second seccomp filter that allows all", loosen_seccomp),
    ROW("115c", "seccomp off", attempt_call, .call = {SYS_prctl, PR_SET_SECCOMP, 0, 0, 0, 0}),
    ROW("115d", "second seccomp listener", loosen_seccomp, .value = SECCOMP_FILTER_FLAG_NEW_LISTENER),
    ROW("228a", "give an own file to root", mark_own_file, .value = 0),
    ROW("228b", "set-user-id and set-group-id on an own file", mark_own_file, .value = 1),
    ROW("228c", "make an own file immutable", mark_own_file, .value = 2),
    ROW("228d", "attribute trusted.x on an own file", mark_own_file, .value = 3, .text = "trusted.x"),
    ROW("228e", "attribute security.x on an own file", mark_own_file, .value = 3, .text = "security.x"),
    END_OF_TABLE,
};
