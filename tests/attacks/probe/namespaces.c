/*
 * Section 5 of the list, 97, 98 and 38: new namespaces by every call that makes them, joining those of
 * others, and what the kernel tells of them; also 206 (high bits) and 213 (listmount, statmount).
 */
#include "attack.h"

#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* `value` is the flag; `text` the link in /proc/self/ns that must be another one afterwards. */
static void by_unshare(const struct attack *attack)
{
    char path[64], before[64] = "", after[64] = "";
    snprintf(path, sizeof path, "/proc/self/ns/%s", attack->text);
    if (readlink(path, before, sizeof before - 1) < 0)
        before[0] = '\0';
    /* The raw call: unshare(3) of libc would cut high bits off. */
    if (syscall(SYS_unshare, (unsigned long)attack->value) < 0)
        refused(errno, "call=unshare");
    /* The link for children of a new time or pid namespace shows nothing until one is there. */
    if (readlink(path, after, sizeof after - 1) > 0 && strcmp(before, after) == 0)
        conclude("unchanged", "ns=%s", after);
    done("ns=%s", after);
}

static _Noreturn void judge_child(long child, const char *call)
{
    if (child == 0)
        _exit(0);
    if (child < 0)
        refused(errno, "call=%s", call);
    wait_for((pid_t)child);
    done("call=%s", call);
}

static void by_clone(const struct attack *attack)
{
    judge_child(syscall(SYS_clone, attack->value | SIGCHLD, NULL, NULL, NULL, 0), "clone");
}

struct clone3_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static void by_clone3(const struct attack *attack)
{
    struct clone3_arguments arguments = {.flags = (uint64_t)attack->value, .exit_signal = SIGCHLD};
    judge_child(syscall(NR_clone3, &arguments, sizeof arguments), "clone3");
}

static void join(const struct attack *attack)
{
    const char *path = expand(attack->text);
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (namespace < 0)
        refused(errno, "call=open path=%s", path);
    judge(setns(namespace, 0), 0, path);
}

static void join_by_pidfd(const struct attack *attack)
{
    int process = (int)syscall(NR_pidfd_open, atoi(expand(attack->text)), 0);
    if (process < 0)
        refused(errno, "call=pidfd_open");
    judge(setns(process, (int)attack->value), 0, "setns");
}

static int own_namespace(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/ns/%s", name);
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (namespace < 0)
        refused(errno, "path=%s", path);
    return namespace;
}

/* Relations of our namespaces, ioctl_ns(2): `text` which, `value` the request. */
static void ask_namespace(const struct attack *attack)
{
    struct {
        uint32_t size, mounts;
        uint64_t id;
    } about = {.size = sizeof about};
    judge(ioctl(own_namespace(attack->text), (unsigned long)attack->value, &about), 0, attack->text);
}

static bool is_own(int namespace)
{
    static const char *const names[] = {"mnt", "net", "pid", "ipc", "uts", "cgroup", "user", "time"};
    struct stat found, own;
    char path[64];
    if (fstat(namespace, &found) < 0)
        return true;
    for (int at = 0; at < 8; at++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[at]);
        if (stat(path, &own) == 0 && own.st_ino == found.st_ino)
            return true;
    }
    return false;
}

/* A handle of a namespace, struct nsfs_file_handle in include/uapi/linux/nsfs.h, since Linux 6.18. */
struct namespace_handle {
    unsigned bytes;
    int type;
    uint64_t id;
    uint32_t kind, inode;
};

/*
 * The first namespaces of a machine have fixed inodes, downwards from here (include/uapi/linux/nsfs.h), and
 * small ids, so their handles can be guessed. FD_NSFS_ROOT is -10003. Ours by its own handle is a control.
 */
static void guess_namespace_handles(const struct attack *attack)
{
    enum { NSFS_ROOT = -10003, NSFS_TYPE = 0xf1, IDS = 64 };
    static const uint32_t kinds[] = {CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWPID,
                                     CLONE_NEWCGROUP, CLONE_NEWTIME, CLONE_NEWNET, CLONE_NEWNS};
    struct namespace_handle handle = {.bytes = 16};
    int error = 0, own = 0, mount;
    (void)attack;
    if (name_to_handle_at(own_namespace("mnt"), "", (void *)&handle, &mount, AT_EMPTY_PATH) < 0)
        refused(errno, "call=name_to_handle_at");
    if (open_by_handle_at(NSFS_ROOT, (void *)&handle, O_RDONLY | O_CLOEXEC) < 0)
        refused(errno, "call=open_by_handle_at own=yes");
    for (uint32_t kind = 0; kind < 8; kind++)
        for (uint64_t id = 1; id < IDS; id++) {
            handle = (struct namespace_handle){16, NSFS_TYPE, id, kinds[kind], 0xefffffffU - kind};
            int namespace = open_by_handle_at(NSFS_ROOT, (void *)&handle, O_RDONLY | O_CLOEXEC);
            if (namespace < 0) {
                if (error != EPERM)
                    error = errno;
                continue;
            }
            if (!is_own(namespace))
                done("id=%llu kind=%x", (unsigned long long)id, kinds[kind]);
            own++;
            close(namespace);
        }
    conclude("not-visible", "own=%d others=0 errno=%s", own, errno_name(error));
}

static bool has_other_namespace(pid_t process, void *context)
{
    static const char *const names[] = {"mnt", "net", "pid", "ipc", "uts", "cgroup", "user"};
    char path[64];
    (void)context;
    for (int at = 0; at < 7; at++) {
        snprintf(path, sizeof path, "/proc/%d/ns/%s", process, names[at]);
        int namespace = open(path, O_RDONLY | O_CLOEXEC);
        if (namespace < 0)
            continue;
        if (!is_own(namespace))
            done("path=%s", path);
        close(namespace);
    }
    return false;
}

static void other_namespaces_in_proc(const struct attack *attack)
{
    (void)attack;
    for_each_process(has_other_namespace, NULL);
    conclude("not-visible", "others=0");
}

/* listns (since Linux 6.19): ids of all namespaces that we may see. */
static void list_namespaces(const struct attack *attack)
{
    struct {
        uint32_t size, spare;
        uint64_t id;
        uint32_t type, spare2;
        uint64_t owner;
    } request = {.size = sizeof request};
    uint64_t ids[512];
    (void)attack;
    long count = syscall(NR_listns, &request, ids, 512, 0);
    if (count < 0)
        refused(errno, "call=listns");
    done("count=%ld", count);
}

/* listmount(2), statmount(2); include/uapi/linux/mount.h. */
struct mount_request {
    uint32_t size, spare;
    uint64_t mount, parameter, space;
};

static char statmount_room[8192];

/* The place of a mount: its text lies at 512, its offset at 108. */
static const char *place_of(uint64_t mount)
{
    struct mount_request request = {.size = sizeof request, .mount = mount, .parameter = 0x10};
    uint32_t offset;
    if (syscall(NR_statmount, &request, statmount_room, sizeof statmount_room, 0) < 0)
        return NULL;
    memcpy(&offset, statmount_room + 108, sizeof offset);
    return offset < 4096 ? statmount_room + 512 + offset : "";
}

static long list_mounts(uint64_t space, uint64_t *mounts, size_t room)
{
    struct mount_request request = {.size = sizeof request, .mount = UINT64_MAX, .space = space};
    return syscall(NR_listmount, &request, mounts, room, 0);
}

static void mounts_by_number(const struct attack *attack)
{
    static uint64_t mounts[2048];
    const char *victim = getenv("VICTIM_DIR"), *mark = getenv("MARK");
    long count = list_mounts(0, mounts, 2048);
    (void)attack;
    if (count < 0)
        refused(errno, "call=listmount");
    for (long at = 0; at < count; at++) {
        const char *place = place_of(mounts[at]);
        if (!place)
            refused(errno, "call=statmount");
        if ((victim && strstr(place, victim)) || (mark && strstr(place, mark)))
            done("place=%s", place);
    }
    conclude("not-visible", "mounts=%ld", count);
}

static void mounts_of_other_spaces(const struct attack *attack)
{
    uint64_t own = 0, mounts[4];
    int error = 0;
    (void)attack;
    if (ioctl(own_namespace("mnt"), _IOR(0xb7, 5, uint64_t), &own) < 0) /* NS_GET_MNTNS_ID */
        refused(errno, "call=NS_GET_MNTNS_ID");
    for (uint64_t space = 1; space < own + 500 && space < 20000; space++) {
        if (space == own)
            continue;
        if (list_mounts(space, mounts, 4) >= 0)
            done("space=%llu own=%llu", (unsigned long long)space, (unsigned long long)own);
        if (error != EPERM)
            error = errno;
    }
    refused(error, "call=listmount own=%llu", (unsigned long long)own);
}

/* Numbers of mounts around those of ours; what statmount shows must be in our own list. */
static void mounts_guessed(const struct attack *attack)
{
    static uint64_t mounts[2048];
    long count = list_mounts(0, mounts, 2048);
    int seen = 0;
    (void)attack;
    if (count <= 0)
        refused(count < 0 ? errno : ENOENT, "call=listmount");
    for (uint64_t guess = mounts[0] - 2000; guess < mounts[0] + 2000; guess++) {
        bool listed = false;
        for (long at = 0; at < count; at++)
            listed |= mounts[at] == guess;
        if (listed || !place_of(guess))
            continue;
        done("mount=%llu place=%s", (unsigned long long)guess, statmount_room + 512);
        seen++;
    }
    conclude("not-visible", "beyond-list=%d", seen);
}

#define UNSHARE(the_number, flag, link) \
    ROW(the_number, "unshare " #flag, by_unshare, .value = flag, .text = link)
#define JOIN(the_number, link) ROW(the_number, "join pid 1's " link, join, .text = "/proc/1/ns/" link)

const struct attack namespace_attacks[] = {
    JOIN("38a", "mnt"),
    JOIN("38b", "net"),
    JOIN("38c", "pid"),
    JOIN("38d", "ipc"),
    JOIN("38e", "uts"),
    JOIN("38f", "cgroup"),
    JOIN("38g", "user"),
    JOIN("38h", "time"),
    ROW("38i", "join the victim's mnt", join, .text = "/proc/$VICTIM_PID/ns/mnt"),
    ROW("38j", "join pid 1's mnt by pidfd", join_by_pidfd, .text = "1", .value = CLONE_NEWNS),
    ROW("38k", "join the victim's mnt by pidfd", join_by_pidfd, .text = "$VICTIM_PID", .value = CLONE_NEWNS),
    ROW("38l", "parent of our pid namespace", ask_namespace, .text = "pid", .value = _IO(0xb7, 2)),
    ROW("38m", "owner of our mnt namespace (allowed)", ask_namespace, .text = "mnt", .value = _IO(0xb7, 1)),
    ROW("38n", "next mnt namespace after ours", ask_namespace, .text = "mnt",
        .value = (long)_IOR(0xb7, 11, uint64_t[2])),
    ROW("38o", "guess handles of namespaces", guess_namespace_handles),
    ROW("38p", "namespaces of others in /proc", other_namespaces_in_proc),
    ROW("38q", "list namespaces by listns", list_namespaces),
    UNSHARE("97a", CLONE_NEWUSER, "user"),
    ROW("97b", "clone CLONE_NEWUSER", by_clone, .value = CLONE_NEWUSER),
    ROW("97c", "clone3 CLONE_NEWUSER", by_clone3, .value = CLONE_NEWUSER),
    UNSHARE("97d", CLONE_NEWUSER | CLONE_NEWNS, "mnt"),
    UNSHARE("97e", CLONE_NEWUSER | CLONE_NEWNET, "net"),
    UNSHARE("98a", CLONE_NEWNS, "mnt"),
    UNSHARE("98b", CLONE_NEWNET, "net"),
    UNSHARE("98c", CLONE_NEWPID, "pid_for_children"),
    UNSHARE("98d", CLONE_NEWIPC, "ipc"),
    UNSHARE("98e", CLONE_NEWUTS, "uts"),
    UNSHARE("98f", CLONE_NEWCGROUP, "cgroup"),
    UNSHARE("98g", CLONE_NEWTIME, "time_for_children"),
    ROW("98h", "clone CLONE_NEWNS", by_clone, .value = CLONE_NEWNS),
    ROW("98i", "clone CLONE_NEWPID", by_clone, .value = CLONE_NEWPID),
    ROW("98j", "clone3 CLONE_NEWNS", by_clone3, .value = CLONE_NEWNS),
    ROW("98k", "clone3 CLONE_NEWTIME", by_clone3, .value = CLONE_NEWTIME),
    ROW("98l", "clone3 without namespaces (libc needs it or ENOSYS)", by_clone3, .value = 0),
    ROW("206a", "clone CLONE_NEWUSER with bit 40", by_clone, .value = CLONE_NEWUSER | 1L << 40),
    ROW("206b", "unshare CLONE_NEWUSER with bit 40", by_unshare, .value = CLONE_NEWUSER | 1L << 40, .text = "user"),
    ROW("213a", "mounts by listmount name VICTIM_DIR or MARK", mounts_by_number),
    ROW("213b", "listmount of other mount namespaces", mounts_of_other_spaces),
    ROW("213c", "statmount of guessed numbers", mounts_guessed),
    END_OF_TABLE,
};
