/*
 * The rest of section 4: kernel objects (dentries, epoll, timers, inotify, signals, queues), output without
 * end, syncs, connections; and limits that one tries to raise (219), SysV objects (220).
 */
#include "attack.h"

#include <arpa/inet.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

static _Noreturn void end_at(long at, int error, const char *what)
{
    if (error)
        conclude("bounded", "at=%ld errno=%s what=%s", at, errno_name(error), what);
    done("at=%ld what=%s", at, what);
}

/* A name that is not there is kept in memory too, as a negative dentry. */
static void many_dentries(const struct attack *attack)
{
    char path[4096];
    struct stat about;
    long limit = limit_or(5000), at;
    (void)attack;
    for (at = 0; at < limit; at++) {
        snprintf(path, sizeof path, "%s-%ld", own_path("attack-none"), at);
        if (stat(path, &about) < 0 && errno != ENOENT)
            end_at(at, errno, "stat");
    }
    end_at(at, 0, "dentries");
}

static void many_epolls(const struct attack *attack)
{
    long limit = limit_or(5000), at;
    (void)attack;
    for (at = 0; at < limit; at++)
        if (epoll_create1(EPOLL_CLOEXEC) < 0)
            end_at(at, errno, "epoll_create1");
    end_at(at, 0, "epoll");
}

/* Timers count against RLIMIT_SIGPENDING of the user, timer_create(2). */
static void many_timers(const struct attack *attack)
{
    long limit = limit_or(5000), at;
    (void)attack;
    for (at = 0; at < limit; at++) {
        struct sigevent event = {.sigev_notify = SIGEV_NONE};
        timer_t timer;
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
            end_at(at, errno, "timer_create");
    }
    end_at(at, 0, "timers");
}

/* Watches of one instance, on folders of ours. */
static void many_watches(const struct attack *attack)
{
    char folder[4096], path[4200];
    long limit = limit_or(1000), at;
    int error = 0, watcher = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    (void)attack;
    if (watcher < 0)
        refused(errno, "call=inotify_init1");
    snprintf(folder, sizeof folder, "%s", own_path("attack-watch"));
    if (mkdir(folder, 0700) < 0)
        refused(errno, "path=%s", folder);
    for (at = 0; at < limit && !error; at++) {
        snprintf(path, sizeof path, "%s/%ld", folder, at);
        if (mkdir(path, 0700) < 0 || inotify_add_watch(watcher, path, IN_ALL_EVENTS) < 0)
            error = errno;
    }
    close(watcher);
    for (long made = 0; made <= at; made++) {
        snprintf(path, sizeof path, "%s/%ld", folder, made);
        rmdir(path);
    }
    rmdir(folder);
    end_at(error ? at - 1 : at, error, "watches");
}

static void many_inotifies(const struct attack *attack)
{
    long limit = limit_or(500), at;
    (void)attack;
    for (at = 0; at < limit; at++)
        if (inotify_init1(IN_CLOEXEC) < 0)
            end_at(at, errno, "inotify_init1");
    end_at(at, 0, "inotify");
}

/* Real-time signals queue up, to ourselves, blocked. */
static void many_signals(const struct attack *attack)
{
    long limit = limit_or(5000), at;
    sigset_t all;
    (void)attack;
    sigfillset(&all);
    sigdelset(&all, SIGALRM);
    sigprocmask(SIG_BLOCK, &all, NULL);
    for (at = 0; at < limit; at++)
        if (sigqueue(getpid(), SIGRTMIN, (union sigval){0}) < 0)
            end_at(at, errno, "sigqueue");
    end_at(at, 0, "signals");
}

static void many_queues(const struct attack *attack)
{
    char name[64];
    long limit = limit_or(200), at;
    int error = 0;
    (void)attack;
    for (at = 0; at < limit && !error; at++) {
        snprintf(name, sizeof name, "/attack-%d-%ld", getpid(), at);
        if (mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, NULL) == (mqd_t)-1)
            error = errno;
        else
            mq_unlink(name);
    }
    end_at(error ? at - 1 : at, error, "mqueue");
}

/* Lines to standard error, which is the runner's to read; in MiB if value is 1, then without any end of line. */
static void flood_output(const struct attack *attack)
{
    static char block[65536];
    long limit = limit_or(attack->value ? 1 : 2000), at;
    memset(block, 'A', sizeof block);
    for (at = 0; at < limit; at++) {
        if (!attack->value && write(2, "yes yes yes yes\n", 16) < 0)
            end_at(at, errno, "lines");
        for (int part = 0; attack->value && part < 16; part++)
            if (write(2, block, sizeof block) < 0)
                end_at(at, errno, "line-mib");
    }
    if (attack->value && write(2, "\n", 1) < 0)
        end_at(at, errno, "line-mib");
    end_at(at, 0, attack->value ? "line-mib" : "lines");
}

/* The flag is of the open pipe, not of our descriptor: whoever shares it would get it too. Set back. */
static void change_flags_of_output(const struct attack *attack)
{
    (void)attack;
    int flags = fcntl(2, F_GETFL);
    if (flags < 0 || fcntl(2, F_SETFL, flags | O_NONBLOCK) < 0)
        refused(errno, "call=fcntl");
    bool changed = fcntl(2, F_GETFL) & O_NONBLOCK;
    fcntl(2, F_SETFL, flags);
    if (changed)
        done("flag=O_NONBLOCK");
    conclude("unchanged", "flag=O_NONBLOCK");
}

static void many_syncs(const struct attack *attack)
{
    long limit = limit_or(50), at;
    struct timespec begin, end;
    (void)attack;
    char *path = own_path("attack-sync");
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        refused(errno, "path=%s", path);
    unlink(path);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (at = 0; at < limit; at++)
        if (pwrite(file, &begin, sizeof begin, at * 4096) < 0 || fsync(file) < 0)
            end_at(at, errno, "fsync");
    clock_gettime(CLOCK_MONOTONIC, &end);
    done("at=%ld milliseconds=%ld", at, (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000);
}

/* Connections to a listener of our own, both ends kept. */
static void many_connections(const struct attack *attack)
{
    struct sockaddr_in own = {.sin_family = AF_INET};
    long limit = limit_or(1000), at;
    int on = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)attack;
    own.sin_port = htons((uint16_t)atoi(need("OWN_PORT")));
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (server < 0)
        refused(errno, "call=socket");
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server, (struct sockaddr *)&own, sizeof own) < 0 || listen(server, 128) < 0)
        refused(errno, "call=listen");
    for (at = 0; at < limit; at++) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (client < 0 || connect(client, (struct sockaddr *)&own, sizeof own) < 0)
            end_at(at, errno, "connect");
        if (accept4(server, NULL, NULL, SOCK_CLOEXEC) < 0)
            end_at(at, errno, "accept");
    }
    end_at(at, 0, "connections");
}

/* Beyond the hard limit, setrlimit(2). `value` is the resource; one that has no limit cannot be raised. */
static void raise_limit(const struct attack *attack)
{
    struct rlimit limit, after;
    __rlimit_resource_t resource = (__rlimit_resource_t)attack->value;
    getrlimit(resource, &limit);
    rlim_t before = limit.rlim_max;
    if (before == RLIM_INFINITY)
        conclude("unchanged", "hard=unlimited");
    limit.rlim_max = before + 1;
    int result = setrlimit(resource, &limit), error = errno;
    getrlimit(resource, &after);
    if (after.rlim_max > before)
        done("before=%llu after=%llu", (unsigned long long)before, (unsigned long long)after.rlim_max);
    if (result == 0)
        conclude("unchanged", "hard=%llu", (unsigned long long)before);
    refused(error, "hard=%llu", (unsigned long long)before);
}

/* Objects of our own, taken away at once: 0 queue, 1 semaphores, 2 memory. */
static void make_sysv(const struct attack *attack)
{
    int made = attack->value == 0   ? msgget(IPC_PRIVATE, 0600)
               : attack->value == 1 ? semget(IPC_PRIVATE, 1, 0600)
                                    : shmget(IPC_PRIVATE, 4096, 0600);
    int error = errno;
    if (made < 0)
        refused(error, "call=get");
    if (attack->value == 0)
        msgctl(made, IPC_RMID, NULL);
    else if (attack->value == 1)
        semctl(made, 0, IPC_RMID);
    else
        shmctl(made, IPC_RMID, NULL);
    done("id=%d", made);
}

/* MSG_STAT_ANY and SEM_STAT_ANY look past permissions, msgctl(2), semctl(2). */
static void list_sysv(const struct attack *attack)
{
    struct msginfo queues;
    struct msqid_ds queue;
    struct seminfo sets;
    struct semid_ds set;
    int found = 0;
    int last = attack->value ? semctl(0, 0, SEM_INFO, &sets) : msgctl(0, MSG_INFO, (struct msqid_ds *)&queues);
    if (last < 0)
        refused(errno, "call=info");
    for (int index = 0; index <= last; index++)
        if ((attack->value ? semctl(index, 0, SEM_STAT_ANY, &set) : msgctl(index, MSG_STAT_ANY, &queue)) >= 0)
            found++;
    if (found)
        done("found=%d", found);
    conclude("not-visible", "found=0");
}

static void *burn(void *context)
{
    struct timespec now, *end = context;
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (now.tv_sec < end->tv_sec || (now.tv_sec == end->tv_sec && now.tv_nsec < end->tv_nsec));
    return NULL;
}

/* Eight threads that burn for ATTACK_LINGER seconds; how many CPUs they got, in hundredths. */
static void burn_cpu(const struct attack *attack)
{
    struct timespec end;
    struct rusage usage;
    pthread_t threads[8];
    unsigned seconds = linger_seconds() ? linger_seconds() : 1;
    (void)attack;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    for (int at = 0; at < 8; at++) {
        int error = pthread_create(&threads[at], NULL, burn, &end);
        if (error)
            refused(error, "call=pthread_create");
    }
    for (int at = 0; at < 8; at++)
        pthread_join(threads[at], NULL);
    getrusage(RUSAGE_SELF, &usage);
    long used = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 100 +
                (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 10000;
    done("cpu-percent=%ld seconds=%u", used / (long)seconds, seconds);
}

const struct attack object_attacks[] = {
    ROW("73a", "many names that are not there", many_dentries),
    ROW("73b", "many epolls", many_epolls),
    ROW("73c", "many timers", many_timers),
    ROW("73d", "many inotify watches", many_watches),
    ROW("82", "eight threads that burn CPU", burn_cpu),
    ROW("83", "many syncs", many_syncs),
    ROW("84", "flood of lines to standard error", flood_output),
    ROW("85", "one line of MiB to standard error", flood_output, .value = 1),
    ROW("86", "O_NONBLOCK on standard error", change_flags_of_output),
    ROW("89a", "inotify instances of the user", many_inotifies),
    ROW("89b", "queued signals of the user", many_signals),
    ROW("89c", "message queues of the user", many_queues),
    ROW("91", "many connections", many_connections),
    ROW("219a", "raise the hard limit of descriptors", raise_limit, .value = RLIMIT_NOFILE),
    ROW("219b", "raise the hard limit of processes", raise_limit, .value = RLIMIT_NPROC),
    ROW("219c", "raise the hard limit of locked memory", raise_limit, .value = RLIMIT_MEMLOCK),
    ROW("219d", "raise the hard limit of real-time priority", raise_limit, .value = RLIMIT_RTPRIO),
    ROW("219e", "raise the hard limit of nice", raise_limit, .value = RLIMIT_NICE),
    ROW("219f", "raise the hard limit of core files", raise_limit, .value = RLIMIT_CORE),
    ROW("219g", "raise the hard limit of queued signals", raise_limit, .value = RLIMIT_SIGPENDING),
    ROW("220a", "make a SysV message queue", make_sysv),
    ROW("220b", "make a SysV semaphore", make_sysv, .value = 1),
    ROW("220c", "make SysV shared memory", make_sysv, .value = 2),
    ROW("220d", "list SysV message queues of all", list_sysv),
    ROW("220e", "list SysV semaphores of all", list_sysv, .value = 1),
    END_OF_TABLE,
};
