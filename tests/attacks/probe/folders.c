/*
 * More of section 1, and rows 119 and 136: what mountinfo and folders tell, device nodes, where one can
 * write, and links out of one's own folder.
 */
#include "attack.h"

#include <dirent.h>
#include <linux/if_alg.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char mountinfo[256 * 1024];

static void read_mountinfo(void)
{
    int error = read_start("/proc/self/mountinfo", mountinfo, sizeof mountinfo, NULL);
    if (error)
        refused(error, "path=/proc/self/mountinfo");
}

/* Whether the text of mountinfo contains `text`, a path of the victim or of the host. */
static void mountinfo_names(const struct attack *attack)
{
    const char *path = expand(attack->text);
    read_mountinfo();
    if (strstr(mountinfo, path))
        done("names=%s", path);
    conclude("not-visible", "path=%s", path);
}

/* The source of a mount is the second word after " - ", proc_pid_mountinfo(5). */
static void mountinfo_devices(const struct attack *attack)
{
    (void)attack;
    struct words devices = {0};
    char *rest;
    read_mountinfo();
    for (char *line = strtok_r(mountinfo, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char type[128] = "", source[512] = "";
        char *tail = strstr(line, " - ");
        if (tail && sscanf(tail, " - %127s %511s", type, source) == 2 && strncmp(source, "/dev/", 5) == 0)
            add_word(&devices, "%s", source);
    }
    if (devices.count)
        done("devices=%s", devices.text);
    conclude("not-visible", "devices=0");
}

/* Field 6 of mountinfo holds the flags of the mount, field 5 its place: those without flag `text`. */
static void mounts_without_flag(const struct attack *attack)
{
    struct words places = {0};
    char *rest;
    read_mountinfo();
    for (char *line = strtok_r(mountinfo, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char place[1024] = "", flags[512] = "";
        if (sscanf(line, "%*s %*s %*s %*s %1023s %511s", place, flags) == 2 && !strstr(flags, attack->text))
            add_word(&places, "%s", place);
    }
    if (places.count)
        done("without=%s count=%d places=%s", attack->text, places.count, places.text);
    conclude("not-visible", "all=%s", attack->text);
}

/* A mount that is shared passes mounts on, one with a master gets those of the host, mount_namespaces(7). */
static void mount_propagation(const struct attack *attack)
{
    (void)attack;
    read_mountinfo();
    bool shared = strstr(mountinfo, " shared:"), slave = strstr(mountinfo, " master:");
    if (shared || slave)
        done("shared=%s slave=%s", shared ? "yes" : "no", slave ? "yes" : "no");
    conclude("not-visible", "propagation=private");
}

static bool is_usual_node(const char *path)
{
    static const char *const usual[] = {"/dev/null", "/dev/zero", "/dev/full",    "/dev/random",
                                        "/dev/tty",  "/dev/ptmx", "/dev/urandom", "/dev/pts/ptmx"};
    for (size_t at = 0; at < sizeof usual / sizeof usual[0]; at++)
        if (strcmp(path, usual[at]) == 0)
            return true;
    return false;
}

/*
 * Nodes beneath `folder` that every program does not need; `open_them` keeps only those that can be opened.
 * The watchdog is left alone: to open it starts it (Documentation/watchdog/watchdog-api.rst).
 */
static void look_for_nodes(const char *folder, int depth, bool open_them, struct words *found)
{
    char path[5000];
    struct stat about;
    DIR *open_folder = opendir(folder);
    if (!open_folder)
        return;
    for (struct dirent *entry; (entry = readdir(open_folder));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(path, &about) < 0)
            continue;
        if (S_ISDIR(about.st_mode) && depth > 0)
            look_for_nodes(path, depth - 1, open_them, found);
        if ((!S_ISCHR(about.st_mode) && !S_ISBLK(about.st_mode)) || is_usual_node(path))
            continue;
        if (!open_them) {
            add_word(found, "%s", path + 5);
            continue;
        }
        if (strstr(path, "watchdog"))
            continue;
        int node = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (node >= 0) {
            add_word(found, "%s", path + 5);
            close(node);
        }
    }
    closedir(open_folder);
}

static void device_nodes(const struct attack *attack)
{
    struct words found = {0};
    look_for_nodes("/dev", 3, attack->value, &found);
    if (found.count)
        done("count=%d nodes=%s", found.count, found.text);
    conclude("not-visible", "beyond-usual=0");
}

/*
 * CVE-2022-0847: bytes of a page of a read-only file, put into a pipe whose flags were left over, were
 * overwritten in the page cache. Tried on a file of our own.
 */
static void dirty_pipe(const struct attack *attack)
{
    (void)attack;
    char *path = own_path("attack-dirty"), content[64] = "unchanged-content";
    int ends[2], file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    loff_t offset = 0;
    if (file < 0 || write(file, content, sizeof content) != sizeof content)
        refused(errno, "path=%s", path);
    close(file);
    file = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    if (file < 0 || pipe(ends) < 0)
        refused(errno, "call=pipe");
    int room = fcntl(ends[1], F_GETPIPE_SZ);
    for (int side = 0; side < 2; side++)
        for (int left = room; left > 0;) {
            ssize_t moved = side ? read(ends[0], mountinfo, (size_t)left) : write(ends[1], mountinfo, (size_t)left);
            if (moved <= 0)
                refused(errno, "call=fill");
            left -= (int)moved;
        }
    if (splice(file, &offset, ends[1], NULL, 1, 0) < 0)
        refused(errno, "call=splice");
    if (write(ends[1], "CHANGED", 7) < 0 || pread(file, content, sizeof content, 0) < 0)
        refused(errno, "call=write");
    if (strstr(content, "CHANGED"))
        done("content=%s", content);
    conclude("unchanged", "file=read-only");
}

/* CVE-2026-31431: the socket of the kernel's crypto and splice. The socket alone is the way in. */
static void crypto_socket(const struct attack *attack)
{
    (void)attack;
    struct sockaddr_alg name = {.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha256"};
    int crypto = socket(AF_ALG, SOCK_SEQPACKET, 0);
    if (crypto < 0)
        refused(errno, "call=socket");
    int bound = bind(crypto, (struct sockaddr *)&name, sizeof name);
    done("socket=opened bind=%s", bound < 0 ? errno_name(errno) : "yes");
}

/* link(2) or rename(2) of a file of ours to `text`, out of its folder: Landlock's right "refer". */
static void move_out(const struct attack *attack)
{
    need("OWN_DIR");
    char *from = own_path("attack-move"), to[4096];
    int file = open(from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        refused(errno, "path=%s", from);
    close(file);
    snprintf(to, sizeof to, "%s/attack-moved-%d", expand(attack->text), getpid());
    int result = attack->value ? link(from, to) : rename(from, to), error = errno;
    unlink(to);
    unlink(from);
    if (result == 0)
        done("to=%s", to);
    refused(error, "to=%s", to);
}

static void make_file(const struct attack *attack)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/attack-made-%d", expand(attack->text), getpid());
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        refused(errno, "path=%s", path);
    unlink(path);
    done("path=%s", path);
}

/* Names that a careless runner would use in folders that all may write. */
static void runner_names(const struct attack *attack)
{
    struct words names = {0};
    DIR *folder = opendir(attack->text);
    if (!folder)
        refused(errno, "path=%s", attack->text);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strstr(entry->d_name, "swrun"))
            add_word(&names, "%s", entry->d_name);
    if (names.count)
        done("names=%s", names.text);
    conclude("not-visible", "folder=%s", attack->text);
}

static void plant_runner_name(const struct attack *attack)
{
    /* Made and taken away again; the runner must not use the name at all. */
    if (symlink("/etc/passwd", attack->text) < 0)
        refused(errno, "path=%s", attack->text);
    unlink(attack->text);
    done("path=%s", attack->text);
}

static void watch_folder(const struct attack *attack)
{
    const char *path = expand(attack->text);
    int watcher = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watcher < 0)
        refused(errno, "call=inotify_init1");
    judge(inotify_add_watch(watcher, path, IN_ALL_EVENTS), 0, path);
}

const struct attack folder_attacks[] = {
    ROW("11a", "mountinfo names the victim's folder", mountinfo_names, .text = "$VICTIM_DIR"),
    ROW("11b", "mountinfo names MARK", mountinfo_names, .text = "$MARK"),
    ROW("11c", "mountinfo names devices of the host", mountinfo_devices),
    ROW("14a", "open /dev/fuse", attempt_write_open, .text = "/dev/fuse"),
    ROW("14b", "open /dev/loop-control", attempt_write_open, .text = "/dev/loop-control"),
    ROW("14c", "list /dev/mapper", attempt_list, .text = "/dev/mapper"),
    ROW("14d", "device nodes beyond the usual that are there", device_nodes),
    ROW("14e", "device nodes beyond the usual that can be opened", device_nodes, .value = 1),
    ROW("14f", "open /dev/kvm", attempt_write_open, .text = "/dev/kvm"),
    ROW("14g", "open /dev/net/tun", attempt_write_open, .text = "/dev/net/tun"),
    ROW("14h", "read /dev/kmsg", attempt_read, .text = "/dev/kmsg"),
    ROW("14i", "open /dev/mem", attempt_write_open, .text = "/dev/mem"),
    ROW("19a", "open a socket of the kernel's crypto (AF_ALG)", crypto_socket),
    ROW("19b", "overwrite the page cache of a read-only file (dirty pipe)", dirty_pipe),
    ROW("101c", "mounts without nodev", mounts_without_flag, .text = "nodev"),
    ROW("101d", "mounts without nosuid", mounts_without_flag, .text = "nosuid"),
    ROW("119a", "rename from OWN_DIR to /tmp", move_out, .text = "/tmp"),
    ROW("119b", "hard link from OWN_DIR to /tmp", move_out, .text = "/tmp", .value = 1),
    ROW("119c", "rename from OWN_DIR to its parent", move_out, .text = "$OWN_DIR/.."),
    ROW("119d", "rename from OWN_DIR to the victim's folder", move_out, .text = "$VICTIM_DIR"),
    ROW("136a", "names with swrun in /tmp", runner_names, .text = "/tmp"),
    ROW("136b", "names with swrun in /dev/shm", runner_names, .text = "/dev/shm"),
    ROW("136c", "names with swrun in /var/tmp", runner_names, .text = "/var/tmp"),
    ROW("136d", "plant /tmp/swrun as a link", plant_runner_name, .text = "/tmp/swrun"),
    ROW("136e", "plant /dev/shm/swrun as a link", plant_runner_name, .text = "/dev/shm/swrun"),
    ROW("214a", "inotify on /", watch_folder, .text = "/"),
    ROW("214b", "inotify on the victim's folder", watch_folder, .text = "$VICTIM_DIR"),
    ROW("215", "mounts that are shared with the host or get its mounts", mount_propagation),
    ROW("216a", "list /", attempt_list, .text = "/"),
    ROW("216b", "list /run", attempt_list, .text = "/run"),
    ROW("216c", "list /srv", attempt_list, .text = "/srv"),
    ROW("232a", "make a file in /", make_file, .text = ""),
    ROW("232b", "make a file in /etc", make_file, .text = "/etc"),
    ROW("232c", "make a file in /usr/bin", make_file, .text = "/usr/bin"),
    ROW("232d", "make a file in /dev", make_file, .text = "/dev"),
    ROW("232e", "make a file in /run", make_file, .text = "/run"),
    ROW("232f", "make a file in /var/tmp", make_file, .text = "/var/tmp"),
    ROW("232g", "make a file in the victim's folder", make_file, .text = "$VICTIM_DIR"),
    ROW("232h", "make a file in /sys", make_file, .text = "/sys"),
    END_OF_TABLE,
};
