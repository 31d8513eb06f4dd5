/*
 * Rows 110 and 240, and those of 212 that need more than to read a file: what of /proc and /sys can be
 * written, and what of it tells addresses of the kernel.
 */
#include "attack.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { ENTRIES_AT_MOST = 200000 };

static int entries;

/*
 * All regular files beneath `folder` that can be opened for writing, which is all that is done. What is a
 * number in /proc is a process and left out: it has rows of its own.
 */
static void look_for_writable(const char *folder, int depth, struct words *found)
{
    char path[4096];
    struct stat about;
    DIR *open_folder = opendir(folder);
    if (!open_folder)
        return;
    for (struct dirent *entry; (entry = readdir(open_folder)) && entries < ENTRIES_AT_MOST;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(path, &about) < 0)
            continue;
        entries++;
        if (S_ISDIR(about.st_mode) && depth > 0 &&
            !(strcmp(folder, "/proc") == 0 && entry->d_name[0] >= '0' && entry->d_name[0] <= '9'))
            look_for_writable(path, depth - 1, found);
        if (!S_ISREG(about.st_mode))
            continue;
        int file = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (file >= 0) {
            add_word(found, "%s", path);
            close(file);
        }
    }
    closedir(open_folder);
}

static void writable_files(const struct attack *attack)
{
    struct words found = {0};
    struct stat about;
    if (stat(attack->text, &about) < 0)
        refused(errno, "path=%s", attack->text);
    look_for_writable(attack->text, 16, &found);
    if (found.count)
        done("count=%d of=%d files=%s", found.count, entries, found.text);
    conclude("not-visible", "count=0 of=%d", entries);
}

/* The file's own content written to it again: says whether an open that is allowed is of any use. */
static void write_same(const struct attack *attack)
{
    char content[4096];
    size_t length = 0;
    int error = read_start(attack->text, content, sizeof content, &length);
    if (error)
        refused(error, "call=read path=%s", attack->text);
    int file = open(attack->text, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        refused(errno, "call=open path=%s", attack->text);
    judge(write(file, content, length), 0, attack->text);
}

/* Something that means no change, or is refused after the check of rights, written to a file of our own. */
static void write_text(const struct attack *attack)
{
    int file = open(attack->text, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        refused(errno, "call=open path=%s", attack->text);
    const char *content = attack->more;
    judge(write(file, content, strlen(content)), attack->reached, attack->text);
}

/* Any address that is not zero, kptr_restrict in proc_sys_kernel(5). The first word is the address. */
static void addresses_in(const struct attack *attack)
{
    static char text[65536];
    int lines = 0;
    char *rest;
    int error = read_start(attack->text, text, sizeof text, NULL);
    if (error)
        refused(error, "path=%s", attack->text);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        lines++;
        if (strtoull(line, NULL, 16) != 0)
            done("address=%.17s path=%s", line, attack->text);
    }
    conclude("not-visible", "lines=%d addresses=0", lines);
}

/* `value`: the column of the addresses of modules is the last but flags, proc_modules(5). */
static void addresses_of_modules(const struct attack *attack)
{
    static char text[65536];
    (void)attack;
    int error = read_start("/proc/modules", text, sizeof text, NULL);
    if (error)
        refused(error, "path=/proc/modules");
    for (char *at = text; (at = strstr(at, " 0x")); at += 3)
        if (strtoull(at + 1, NULL, 16))
            done("address=%.18s", at + 1);
    conclude("not-visible", "bytes=%zu", strlen(text));
}

/* The number of a frame of memory, which is 0 without CAP_SYS_ADMIN, proc_pid_pagemap(5). */
static void frame_number(const struct attack *attack)
{
    uint64_t entry = 0;
    (void)attack;
    int pages = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pages < 0)
        refused(errno, "call=open");
    if (pread(pages, &entry, sizeof entry, (off_t)((uintptr_t)&entry / 4096 * 8)) < 0)
        refused(errno, "call=pread");
    if (entry << 9)
        done("frame=%llx", (unsigned long long)(entry << 9 >> 9));
    conclude("not-visible", "frame=0");
}

const struct attack kernel_attacks[] = {
    ROW("110a", "open core_pattern for writing", attempt_write_open, .text = "/proc/sys/kernel/core_pattern"),
    ROW("110b", "open the path of modprobe for writing", attempt_write_open, .text = "/proc/sys/kernel/modprobe"),
    ROW("110c", "open sysrq-trigger for writing", attempt_write_open, .text = "/proc/sysrq-trigger"),
    ROW("110d", "open an interrupt's affinity for writing", attempt_write_open,
        .text = "/proc/irq/default_smp_affinity"),
    ROW("110e", "files of /proc/sys that open for writing", writable_files, .text = "/proc/sys"),
    ROW("110f", "files of /proc, apart from processes, that open for writing", writable_files, .text = "/proc"),
    ROW("110g", "files of /sys that open for writing", writable_files, .text = "/sys"),
    ROW("110h", "open uevent_helper for writing", attempt_write_open, .text = "/sys/kernel/uevent_helper"),
    ROW("110i", "write ns_last_pid (the same)", write_same, .text = "/proc/sys/kernel/ns_last_pid"),
    ROW("110j", "write core_pattern (the same)", write_same, .text = "/proc/sys/kernel/core_pattern"),
    ROW("110k", "write hostname (the same)", write_same, .text = "/proc/sys/kernel/hostname"),
    ROW("110l", "write the range of ephemeral ports (the same)", write_same,
        .text = "/proc/sys/net/ipv4/ip_local_port_range"),
    ROW("110m", "open ptrace_scope for writing", attempt_write_open, .text = "/proc/sys/kernel/yama/ptrace_scope"),
    ROW("110n", "write msgmax of the ipc namespace (the same)", write_same, .text = "/proc/sys/kernel/msgmax"),
    ROW("110o", "write the ping group range (the same)", write_same, .text = "/proc/sys/net/ipv4/ping_group_range"),
    ROW("110p", "files of /proc/self that open for writing", writable_files, .text = "/proc/self/"),
    ROW("212a", "addresses in /proc/kallsyms", addresses_in, .text = "/proc/kallsyms"),
    ROW("212b", "addresses in /proc/modules", addresses_of_modules),
    ROW("212c", "addresses in /proc/iomem", addresses_in, .text = "/proc/iomem"),
    ROW("212d", "addresses in /proc/ioports", addresses_in, .text = "/proc/ioports"),
    ROW("240a", "map users of our user namespace", write_text, .text = "/proc/self/uid_map", .more = "0 0 1"),
    ROW("240b", "write loginuid", write_same, .text = "/proc/self/loginuid"),
    ROW("240c", "clear references of our pages", write_text, .text = "/proc/self/clear_refs", .more = "1"),
    ROW("240d", "offsets of the time namespace", write_text, .text = "/proc/self/timens_offsets",
        .more = "boottime 0 0"),
    ROW("240e", "setgroups of our user namespace", write_text, .text = "/proc/self/setgroups", .more = "deny"),
    ROW("240f", "numbers of our frames of memory (pagemap)", frame_number),
    ROW("240g", "injected faults", attempt_write_open, .text = "/proc/self/make-it-fail"),
    END_OF_TABLE,
};
