/*
 * Section 5 of the list: the calls of mounting (100), device nodes (101), cgroups (112, 113). Arguments are
 * such that the kernel fails after the check of rights, or what was done is undone at once.
 */
#include "attack.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static void mount_here(const struct attack *attack)
{
    need("OWN_DIR");
    char *place = own_path("attack-mount");
    if (mkdir(place, 0700) < 0)
        refused(errno, "path=%s", place);
    int result = mount("none", place, attack->text, (unsigned long)attack->value, attack->more), error = errno;
    if (result == 0)
        umount2(place, MNT_DETACH);
    rmdir(place);
    errno = error;
    judge(result, 0, attack->text);
}

/* Binds: what is asked for is a file that is not there, or a place that is no mount: EINVAL, ENOENT reached. */
static void mount_nothing(const struct attack *attack)
{
    int result = mount("/proc/self/nothing", "/proc/self", NULL, (unsigned long)attack->value, NULL);
    judge(result, attack->reached, "mount");
}

static void many_mounts(const struct attack *attack)
{
    need("OWN_DIR");
    long limit = limit_or(100), at;
    int error = 0;
    (void)attack;
    char *place = own_path("attack-mounts");
    if (mkdir(place, 0700) < 0)
        refused(errno, "path=%s", place);
    for (at = 0; at < limit && !error; at++)
        if (mount("none", place, "tmpfs", 0, NULL) < 0)
            error = errno;
    for (long made = error ? at - 1 : at; made > 0; made--)
        umount2(place, MNT_DETACH);
    rmdir(place);
    if (error && at == 1)
        refused(error, "call=mount");
    if (error)
        conclude("bounded", "at=%ld errno=%s", at - 1, errno_name(error));
    done("at=%ld", at);
}

/* `value` is the kind with the mode; a null device, which harms nothing. */
static void make_node(const struct attack *attack)
{
    need("OWN_DIR");
    char *path = own_path("attack-node");
    int result = mknod(path, (mode_t)attack->value, attack->more ? 0 : makedev(1, 3)), error = errno;
    unlink(path);
    errno = error;
    judge(result, 0, "mknod");
}

static char mountinfo[256 * 1024];

/* The folder of our cgroup in the mount of version 2, cgroups(7); ENOENT if none is mounted. */
static const char *own_cgroup(void)
{
    static char folder[2048];
    char groups[4096], place[1024] = "", *line;
    int error = read_start("/proc/self/mountinfo", mountinfo, sizeof mountinfo, NULL);
    if (error)
        refused(error, "path=/proc/self/mountinfo");
    line = strstr(mountinfo, " - cgroup2 ");
    if (!line)
        refused(ENOENT, "mount=cgroup2");
    while (line > mountinfo && line[-1] != '\n')
        line--;
    if (sscanf(line, "%*s %*s %*s %*s %1023s", place) != 1)
        refused(EINVAL, "path=/proc/self/mountinfo");
    error = read_start("/proc/self/cgroup", groups, sizeof groups, NULL);
    if (error)
        refused(error, "path=/proc/self/cgroup");
    char *own = strstr(groups, "0::");
    if (own)
        own[strcspn(own, "\n")] = '\0';
    snprintf(folder, sizeof folder, "%s%s", place, own ? own + 3 : "/");
    return folder;
}

/* Opened for writing, nothing is written. */
static void open_cgroup_file(const struct attack *attack)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", own_cgroup(), attack->text);
    struct attack open_it = {.text = path};
    attempt_write_open(&open_it);
}

static void list_cgroup(const struct attack *attack)
{
    struct attack list = {.text = own_cgroup()};
    (void)attack;
    attempt_list(&list);
}

static void make_child_cgroup(const struct attack *attack)
{
    char path[4096];
    (void)attack;
    snprintf(path, sizeof path, "%s/attack-%d", own_cgroup(), getpid());
    int result = mkdir(path, 0700), error = errno;
    rmdir(path);
    errno = error;
    judge(result, 0, "mkdir");
}

static void clone_into_cgroup(const struct attack *attack)
{
    enum { INTO_CGROUP_AT = 10, WORDS = 11 };
    uint64_t arguments[WORDS] = {1ULL << 33, 0, 0, 0, SIGCHLD}; /* CLONE_INTO_CGROUP */
    char path[4096];
    snprintf(path, sizeof path, "%s%s", own_cgroup(), attack->text);
    int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        refused(errno, "path=%s", path);
    arguments[INTO_CGROUP_AT] = (uint64_t)folder;
    long child = syscall(NR_clone3, arguments, sizeof arguments);
    if (child == 0)
        _exit(0);
    if (child > 0)
        wait_for((pid_t)child);
    judge(child, 0, "CLONE_INTO_CGROUP");
}

/* Any line of /proc/self/cgroup that does not end in ":/" names a group of the host. */
static void cgroup_path(const struct attack *attack)
{
    char text[4096], *rest;
    (void)attack;
    int error = read_start("/proc/self/cgroup", text, sizeof text, NULL);
    if (error)
        refused(error, "path=/proc/self/cgroup");
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (strlen(line) < 2 || strcmp(line + strlen(line) - 2, ":/") != 0)
            done("line=%s", line);
    conclude("not-visible", "path=/");
}

/* Version 1: any mount of it; value 1: its release_agent opened for writing (CVE-2022-0492). */
static void cgroup_v1(const struct attack *attack)
{
    char place[1024], path[1100], *line, *rest;
    int error = read_start("/proc/self/mountinfo", mountinfo, sizeof mountinfo, NULL), last = ENOENT;
    if (error)
        refused(error, "path=/proc/self/mountinfo");
    for (line = strtok_r(mountinfo, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (!strstr(line, " - cgroup ") || sscanf(line, "%*s %*s %*s %*s %1023s", place) != 1)
            continue;
        if (!attack->value)
            done("mount=%s", place);
        snprintf(path, sizeof path, "%s/release_agent", place);
        int agent = open(path, O_WRONLY | O_CLOEXEC);
        if (agent >= 0)
            done("path=%s", path);
        last = errno;
    }
    if (!attack->value)
        conclude("not-visible", "mounts=0");
    refused(last, "file=release_agent");
}

#define CALL(the_number, the_title, the_errno, ...) \
    ROW(the_number, the_title, attempt_call, .reached = the_errno, .text = "call", .call = {__VA_ARGS__})

static const uint64_t no_attributes[4];

const struct attack mount_attacks[] = {
    ROW("94a", "many mounts", many_mounts),
    CALL("100a", "fsopen", 0, NR_fsopen, (long)"tmpfs", 0),
    /* Without a context from fsopen there is nothing to configure: EINVAL says only that the call is open. */
    CALL("100b", "fsconfig", 0, NR_fsconfig, -1, 0, 0, 0, 0),
    /* The right is asked first in all of these, fs/namespace.c and fs/fsopen.c. */
    CALL("100c", "fsmount", EBADF, NR_fsmount, -1, 0, 0),
    CALL("100d", "move_mount", ENOENT, NR_move_mount, -1, (long)"", -1, (long)"", 0),
    CALL("100e", "open_tree, a copy of /", 0, NR_open_tree, AT_FDCWD, (long)"/", 1),
    CALL("100f", "open_tree_attr, a copy of /", 0, NR_open_tree_attr, AT_FDCWD, (long)"/", 1, (long)no_attributes,
         sizeof no_attributes),
    CALL("100g", "mount_setattr of nothing on /", 0, NR_mount_setattr, AT_FDCWD, (long)"/", 0, (long)no_attributes,
         sizeof no_attributes),
    ROW("100h", "mount a tmpfs", mount_here, .text = "tmpfs"),
    ROW("100i", "mount a bind", mount_nothing, .value = MS_BIND, .reached = ENOENT),
    CALL("100j", "umount2", EINVAL, SYS_umount2, (long)"/proc/self", 0),
    CALL("100k", "pivot_root", ENOENT, SYS_pivot_root, (long)"/proc/nothing", (long)"/proc/nothing"),
    /* The path is looked up before the right is asked (fs/open.c): it must be there. A child's root alone. */
    CALL("100l", "chroot to /proc", 0, SYS_chroot, (long)"/proc"),
    CALL("100m", "fspick of /", 0, NR_fspick, AT_FDCWD, (long)"/", 0),
    ROW("100n", "remount a bind", mount_nothing, .value = MS_REMOUNT | MS_BIND, .reached = EINVAL),
    ROW("100o", "change propagation", mount_nothing, .value = MS_PRIVATE, .reached = EINVAL),
    ROW("100p", "mount a proc", mount_here, .text = "proc"),
    ROW("100q", "mount an overlay", mount_here, .text = "overlay", .more = "lowerdir=/usr:/etc"),
    ROW("100r", "mount a fuse", mount_here, .text = "fuse", .more = "fd=0,rootmode=40000,user_id=0,group_id=0"),
    /* open_tree without a copy is O_PATH by another name and needs no right. */
    CALL("100s", "open_tree without a copy", 0, NR_open_tree, AT_FDCWD, (long)"/", 0),
    ROW("101a", "make a character device", make_node, .value = S_IFCHR | 0600),
    ROW("101b", "make a block device", make_node, .value = S_IFBLK | 0600),
    ROW("101e", "make a whiteout (device 0, allowed to all)", make_node, .value = S_IFCHR, .more = ""),
    ROW("112a", "list our own cgroup", list_cgroup),
    ROW("112b", "make a child cgroup", make_child_cgroup),
    ROW("112c", "open memory.max for writing", open_cgroup_file, .text = "memory.max"),
    ROW("112d", "open pids.max for writing", open_cgroup_file, .text = "pids.max"),
    ROW("112e", "open our cgroup.procs for writing", open_cgroup_file, .text = "cgroup.procs"),
    ROW("112f", "open the parent's cgroup.procs for writing", open_cgroup_file, .text = "../cgroup.procs"),
    ROW("112g", "open cgroup.kill for writing", open_cgroup_file, .text = "cgroup.kill"),
    ROW("112h", "open cgroup.freeze for writing", open_cgroup_file, .text = "cgroup.freeze"),
    ROW("112i", "clone3 into our cgroup", clone_into_cgroup, .text = ""),
    ROW("112j", "clone3 into the parent's cgroup", clone_into_cgroup, .text = "/.."),
    ROW("112k", "the path of our cgroup on the host", cgroup_path),
    ROW("112l", "list /sys/fs/cgroup", attempt_list, .text = "/sys/fs/cgroup"),
    ROW("113a", "cgroups of version 1 are mounted", cgroup_v1),
    ROW("113b", "open release_agent for writing", cgroup_v1, .value = 1),
    ROW("113c", "mount a cgroup of version 1", mount_here, .text = "cgroup", .more = "none,name=attack"),
    ROW("113d", "mount a cgroup of version 2", mount_here, .text = "cgroup2"),
    END_OF_TABLE,
};
