/*
 * The attack probe: tries numbered attacks from where it is started and says how each ended.
 *
 *   attack NUMBER...   tries them in this order; one line each: NUMBER OUTCOME [key=value...]
 *   attack list        all numbers with their titles
 *   attack all         tries all
 *
 * A number without a letter stands for all its variants. Each attack runs in a process of its own with an
 * alarm, so that a crash or a hang of one is a line of the report and the others go on.
 *
 * OUTCOME is one word:
 *   done         the attacker got what it wanted; `reached=EXXX` says that the kernel failed it only after
 *                the check of rights, because we asked for something harmless
 *   EPERM, ...   refused with that errno
 *   not-visible  there is nothing of the victim or the host to be seen
 *   unchanged    the call was let through, or was not needed, but the value is as before
 *   bounded      a limit stopped it: at=N errno=EXXX
 *   skipped      missing=NAME: a variable is not set
 *   hung, killed the attack did not end by itself (signal=N or exit=N)
 *   unknown      no attack has this number
 *   and for 151 the value itself ("none" where the kernel has no such line)
 *
 * Variables: VICTIM_DIR, VICTIM_PID, VICTIM_PORT, VICTIM_UDP_PORT, VICTIM_ABSTRACT, VICTIM_SHM_KEY, VICTIM_MQ,
 * VICTIM_SHM_NAME, VICTIM_TMP_NAME, OWN_PORT, OWN_DIR (/tmp where none is), HOST_SOCKETS, LOGS, MARK;
 * ATTACK_LIMIT (the bound of section 4, in what the attack counts) and ATTACK_LINGER (seconds, 1 if not set,
 * 15 at most, for what a test looks at meanwhile: 26, 28, 34, 82, 140, 148).
 */
#include "attack.h"

#include <ctype.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

/* When an attack is hung, and how long after that the probe gives up waiting for its end. */
enum { ALARM_SECONDS = 20, GRACE_SECONDS = 3 };

static const struct attack *const tables[] = {
    file_attacks,      folder_attacks,   process_attacks,     trick_attacks,   port_attacks,
    socket_attacks,    network_attacks,  listen_attacks,      resource_attacks, object_attacks,
    privilege_attacks, namespace_attacks, mount_attacks,      call_attacks,    abi_attacks,
    kernel_attacks,    kernel_file_attacks, memory_attacks,   inherited_attacks,
};

/* Reads the line that an attack left in its pipe; processes it left behind may still hold the other end. */
static bool take_line(int pipe_end, char *line, size_t room)
{
    fcntl(pipe_end, F_SETFL, O_NONBLOCK);
    ssize_t length = read(pipe_end, line, room - 1);
    if (length <= 0)
        return false;
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return true;
}

/* Waits for the child, no longer than the alarm and a grace: whether it ended. Its number stays taken. */
static bool ended_in_time(pid_t child)
{
    struct timespec begin, now, pause = {.tv_nsec = 2000000};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        siginfo_t ended = {0};
        int result = waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT);
        if ((result == 0 && ended.si_pid == child) || (result < 0 && errno != EINTR))
            return true; /* an error: SIGCHLD is inherited as ignored, so no status is kept, wait(2) */
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < ALARM_SECONDS + GRACE_SECONDS);
    return false;
}

extern int report_end;

static _Noreturn void be_the_attacker(const struct attack *attack, int pipe_end)
{
    sigset_t alarm_only;
    report_end = pipe_end;
    setpgid(0, 0); /* so that all that it starts can be ended with it */
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
    alarm(ALARM_SECONDS);
    attack->attempt(attack);
    conclude("no-outcome", "bug=yes");
}

static void run(const struct attack *attack)
{
    char line[4096];
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        printf("%s %s where=pipe\n", attack->number, errno_name(errno));
        fflush(stdout);
        return;
    }
    pid_t child = fork();
    if (child < 0) {
        printf("%s %s where=fork\n", attack->number, errno_name(errno));
    } else if (child == 0) {
        close(ends[0]);
        be_the_attacker(attack, ends[1]);
    } else {
        bool ended = ended_in_time(child);
        kill(-child, SIGKILL); /* its group: what it started */
        if (!ended)
            kill(child, SIGKILL);
        /* One that cannot be killed is left behind. */
        if (waitpid(child, &status, ended ? 0 : WNOHANG) != child)
            status = 0;
        if (take_line(ends[0], line, sizeof line))
            printf("%s %s\n", attack->number, line);
        else if (!ended || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM))
            printf("%s hung\n", attack->number);
        else if (WIFSIGNALED(status))
            printf("%s killed signal=%d\n", attack->number, WTERMSIG(status));
        else
            printf("%s killed exit=%d\n", attack->number, WEXITSTATUS(status));
    }
    fflush(stdout);
    close(ends[0]);
    close(ends[1]);
}

/* Whether `wanted` names this attack: "22b" itself, "22" and all its variants, "all". */
static bool is_meant(const char *number, const char *wanted, bool exactly)
{
    if (strcmp(wanted, "all") == 0 || strcmp(number, wanted) == 0)
        return true;
    size_t length = strlen(wanted);
    return !exactly && strncmp(number, wanted, length) == 0 && isalpha((unsigned char)number[length]);
}

static int for_all_meant(const char *wanted, bool exactly, void (*act)(const struct attack *))
{
    int count = 0;
    for (size_t table = 0; table < sizeof tables / sizeof tables[0]; table++)
        for (const struct attack *attack = tables[table]; attack->number; attack++)
            if (is_meant(attack->number, wanted, exactly)) {
                act(attack);
                count++;
            }
    return count;
}

static void print_title(const struct attack *attack)
{
    printf("%s %s\n", attack->number, attack->title);
}

int main(int argc, char **argv)
{
    remember_inherited();
    if (argc < 2) {
        fprintf(stderr, "usage: attack NUMBER... | list | all\n");
        return 2;
    }
    if (strcmp(argv[1], "list") == 0) {
        for_all_meant("all", true, print_title);
        return 0;
    }
    for (int at = 1; at < argc; at++)
        if (for_all_meant(argv[at], true, run) == 0 && for_all_meant(argv[at], false, run) == 0) {
            printf("%s unknown\n", argv[at]);
            fflush(stdout);
        }
    return 0;
}
