/*
 * Section 4 of the list: using up processes, memory, files and descriptors. Each stops at a bound
 * (ATTACK_LIMIT or a small one of its own), so that without a cage the machine is not harmed:
 * "done at=N" at the bound, "bounded at=N errno=X" where a limit came first. The memory ones count MiB and
 * may be ended by the kernel with all of the cage; then nothing is reported.
 */
#include "attack.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { MIB = 1024 * 1024 };

static _Noreturn void end_at(long at, int error, const char *what)
{
    if (error)
        conclude("bounded", "at=%ld errno=%s what=%s", at, errno_name(error), what);
    done("at=%ld what=%s", at, what);
}

/* Children that wait; value 1: that end at once and stay zombies. */
static void many_processes(const struct attack *attack)
{
    long limit = limit_or(2000), at;
    int error = 0;
    pid_t *children = calloc((size_t)limit, sizeof *children);
    for (at = 0; children && at < limit; at++) {
        pid_t child = children[at] = fork();
        if (child < 0) {
            error = errno;
            break;
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* none is left should we be killed */
            if (!attack->value)
                pause();
            _exit(0);
        }
    }
    for (long made = 0; made < at; made++) {
        kill(children[made], SIGKILL);
        wait_for(children[made]);
    }
    end_at(at, error, attack->value ? "zombies" : "processes");
}

static bool count_orphan_zombies(pid_t process, void *context)
{
    char path[64], text[512], state = 0;
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    if (read_start(path, text, sizeof text, NULL) == 0 && strrchr(text, ')') &&
        sscanf(strrchr(text, ')') + 1, " %c %d", &state, &parent) == 2 && state == 'Z' && parent == 1)
        ++*(int *)context;
    return false;
}

/* Orphans that end: pid 1 has to reap them. Zombies of pid 1 that are new after a second are counted. */
static void many_orphans(const struct attack *attack)
{
    long limit = limit_or(500), at;
    int before = 0, left = 0, error = 0;
    (void)attack;
    for_each_process(count_orphan_zombies, &before);
    for (at = 0; at < limit && !error; at++) {
        pid_t middle = fork();
        if (middle < 0)
            error = errno;
        if (middle == 0) {
            if (fork() == 0)
                usleep(1000);
            _exit(0);
        }
        wait_for(middle);
    }
    sleep(1);
    for_each_process(count_orphan_zombies, &left);
    if (left > before)
        done("zombies-left=%d at=%ld", left - before, at);
    conclude("not-visible", "zombies-left=0 at=%ld", at);
}

static void *wait_for_ever(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

static void many_threads(const struct attack *attack)
{
    static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    long limit = limit_or(2000), at;
    pthread_attr_t small;
    pthread_t thread;
    int error = 0;
    (void)attack;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_mutex_lock(&gate);
    for (at = 0; at < limit && !error; at++)
        error = pthread_create(&thread, &small, wait_for_ever, &gate);
    end_at(error ? at - 1 : at, error, "threads"); /* they end with us */
}

/* Anonymous memory by MiB, each page touched; `value` has more flags of mmap(2). */
static void anonymous_memory(const struct attack *attack)
{
    long limit = limit_or(64), at;
    for (at = 0; at < limit; at++) {
        size_t size = attack->value & MAP_HUGETLB ? 2 * MIB : MIB;
        char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | (int)attack->value, -1, 0);
        if (memory == MAP_FAILED)
            end_at(at, errno, "mmap");
        memset(memory, 1, size);
    }
    end_at(at, 0, "memory-mib");
}

static void lock_memory(const struct attack *attack)
{
    (void)attack;
    size_t size = (size_t)limit_or(64) * MIB;
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        end_at(0, errno, "mlockall");
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    end_at(limit_or(64), memory == MAP_FAILED ? errno : 0, "locked-mib");
}

/* One file, by MiB, unlinked at once so that nothing stays. `text` is the folder. */
static void big_file(const struct attack *attack)
{
    static char block[MIB];
    char path[4096];
    long limit = limit_or(64), at;
    int error = 0;
    memset(block, 1, sizeof block);
    snprintf(path, sizeof path, "%s/attack-big-%d", expand(attack->text), getpid());
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        refused(errno, "path=%s", path);
    unlink(path);
    for (at = 0; at < limit && !error; at++) {
        ssize_t written = write(file, block, sizeof block);
        if (written < (ssize_t)sizeof block)
            error = written < 0 ? errno : ENOSPC;
    }
    end_at(error ? at - 1 : at, error, "file-mib");
}

static void memory_files(const struct attack *attack)
{
    static char block[MIB];
    long limit = limit_or(64), at;
    int file = memfd_create("attack", MFD_CLOEXEC);
    (void)attack;
    memset(block, 1, sizeof block);
    if (file < 0)
        refused(errno, "call=memfd_create");
    for (at = 0; at < limit; at++)
        if (write(file, block, sizeof block) < (ssize_t)sizeof block)
            end_at(at, errno, "memfd");
    end_at(at, 0, "memfd-mib");
}

/* Pipes of 1 MiB, full. What is refused is the size beyond the user's share (pipe(7)). */
static void full_pipes(const struct attack *attack)
{
    static char block[MIB];
    long limit = limit_or(64), at;
    (void)attack;
    for (at = 0; at < limit; at++) {
        int ends[2];
        if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
            end_at(at, errno, "pipe2");
        if (fcntl(ends[1], F_SETPIPE_SZ, MIB) < 0)
            end_at(at, errno, "F_SETPIPE_SZ");
        if (write(ends[1], block, MIB) < 0)
            end_at(at, errno, "write");
    }
    end_at(at, 0, "pipes-mib");
}

static void full_sockets(const struct attack *attack)
{
    static char block[4096];
    long wanted = limit_or(64), written = 0;
    int pairs = 0;
    (void)attack;
    while (written / MIB < wanted) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
            conclude("bounded", "at=%ld errno=%s pairs=%d", written / MIB, errno_name(errno), pairs);
        ssize_t more;
        while ((more = write(ends[0], block, sizeof block)) > 0)
            written += more;
        pairs++;
    }
    end_at(written / MIB, 0, "sockets-mib");
}

/* Descriptors in messages that nobody takes; ETOOMANYREFS beyond RLIMIT_NOFILE of the user, unix(7). */
static void descriptors_in_flight(const struct attack *attack)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * 100)];
    } control;
    long limit = limit_or(2000), at;
    int ends[2];
    char byte = '?';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    (void)attack;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        refused(errno, "call=socketpair");
    memset(&control, 0, sizeof control);
    control.head.cmsg_len = CMSG_LEN(sizeof(int) * 100);
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    for (int each = 0; each < 100; each++)
        memcpy(CMSG_DATA(&control.head) + sizeof(int) * (size_t)each, &ends[0], sizeof(int));
    for (at = 0; at < limit; at += 100) {
        if (sendmsg(ends[0], &message, 0) >= 0)
            continue;
        int error = errno;
        if (error != EAGAIN)
            end_at(at, error, "in-flight");
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
            end_at(at, errno, "socketpair");
        at -= 100;
    }
    end_at(at, 0, "in-flight");
}

static void many_descriptors(const struct attack *attack)
{
    long limit = limit_or(20000), at;
    (void)attack;
    for (at = 0; at < limit; at++)
        if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
            end_at(at, errno, "open");
    end_at(at, 0, "descriptors");
}

/* Empty files in a folder of their own, `text`/attack-files; taken away at the end. */
static void many_files(const struct attack *attack)
{
    char folder[4096], path[4200];
    long limit = limit_or(20000), at;
    int error = 0;
    snprintf(folder, sizeof folder, "%s/attack-files-%d", expand(attack->text), getpid());
    if (mkdir(folder, 0700) < 0)
        refused(errno, "path=%s", folder);
    for (at = 0; at < limit && !error; at++) {
        snprintf(path, sizeof path, "%s/%ld", folder, at);
        int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file < 0)
            error = errno;
        else
            close(file);
    }
    for (long made = 0; made < at; made++) {
        snprintf(path, sizeof path, "%s/%ld", folder, made);
        unlink(path);
    }
    rmdir(folder);
    end_at(error ? at - 1 : at, error, "files");
}

/* A tree as deep as the bound, made and taken away by steps: no path may be longer than 4096 bytes. */
static void deep_tree(const struct attack *attack)
{
    long limit = limit_or(1000), depth = 0;
    int error = 0;
    if (chdir(expand(attack->text)) < 0)
        refused(errno, "path=%s", attack->text);
    while (depth < limit && !error) {
        if (mkdir("attack-deep", 0700) < 0 || chdir("attack-deep") < 0)
            error = errno;
        else
            depth++;
    }
    if (error)
        rmdir("attack-deep");
    for (long left = depth; left > 0 && chdir("..") == 0; left--)
        rmdir("attack-deep");
    end_at(depth, error, "levels");
}

const struct attack resource_attacks[] = {
    ROW("67", "many processes", many_processes),
    ROW("68", "many threads", many_threads),
    ROW("69", "anonymous memory", anonymous_memory),
    ROW("70a", "big file in /tmp", big_file, .text = "/tmp"),
    ROW("70b", "big file in /dev/shm", big_file, .text = "/dev/shm"),
    ROW("70c", "big file in OWN_DIR", big_file, .text = "$OWN_DIR"),
    ROW("71a", "big memfd", memory_files),
    ROW("71b", "full pipes of 1 MiB", full_pipes),
    ROW("71c", "full buffers of unix sockets", full_sockets),
    ROW("71d", "descriptors in flight (SCM_RIGHTS)", descriptors_in_flight),
    ROW("74a", "mlockall", lock_memory),
    ROW("74b", "huge pages", anonymous_memory, .value = MAP_HUGETLB),
    ROW("74c", "MAP_LOCKED", anonymous_memory, .value = MAP_LOCKED),
    ROW("79", "many descriptors", many_descriptors),
    ROW("80a", "many files in /tmp", many_files, .text = "/tmp"),
    ROW("80b", "many files in OWN_DIR", many_files, .text = "$OWN_DIR"),
    ROW("80c", "many files in /dev/shm", many_files, .text = "/dev/shm"),
    ROW("92a", "zombies of our own", many_processes, .value = 1),
    ROW("92b", "orphans for pid 1 to reap", many_orphans),
    ROW("94b", "deep tree of folders in OWN_DIR", deep_tree, .text = "$OWN_DIR"),
    END_OF_TABLE,
};
