/*
 * How an attack ends, and the small helpers and attempts that the themed files share.
 */
#include "attack.h"

#include <dirent.h>
#include <stdarg.h>
#include <sys/wait.h>

/* The pipe to the probe; set in the child. */
int report_end = 1;

/* Text of others may be in a detail: what is no printable ASCII is shown as "?". */
static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || (unsigned char)*text > '~')
            *text = '?';
}

static _Noreturn void finish(const char *outcome, const char *format, va_list arguments)
{
    char line[2000];
    int used = snprintf(line, sizeof line, "%s ", outcome);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    size_t length = (size_t)used + (size_t)(more < 0 ? 0 : more);
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length] = '\0';
    clean(line);
    line[length] = '\n';
    /* One write of less than PIPE_BUF bytes is never split, pipe(7). */
    if (write(report_end, line, length + 1) < 0)
        _exit(3);
    _exit(0);
}

void conclude(const char *outcome, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    finish(outcome, format, arguments);
}

void done(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    finish("done", format, arguments);
}

void refused(int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    finish(errno_name(error), format, arguments);
}

void judge(long result, int reached, const char *what)
{
    int error = errno;
    if (result >= 0)
        done("what=%s", what);
    if (reached && error == reached)
        done("what=%s reached=%s", what, errno_name(error));
    refused(error, "what=%s", what);
}

const char *errno_name(int error)
{
    static char unnamed[16];
    const char *name = strerrorname_np(error);
    if (name)
        return name;
    snprintf(unnamed, sizeof unnamed, "E%d", error);
    return unnamed;
}

const char *need(const char *name)
{
    const char *value = getenv(name);
    if (!value || !*value)
        conclude("skipped", "missing=%s", name);
    return value;
}

char *expand(const char *text)
{
    static char rooms[4][4096];
    static unsigned next;
    char *whole = rooms[next++ % 4], name[64];
    size_t used = 0;
    while (*text && used < sizeof rooms[0] - 1) {
        if (*text != '$') {
            whole[used++] = *text++;
            continue;
        }
        size_t length = strspn(text + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
        snprintf(name, sizeof name, "%.*s", (int)length, text + 1);
        int more = snprintf(whole + used, sizeof rooms[0] - used, "%s", need(name));
        used += (size_t)more;
        if (used > sizeof rooms[0] - 1)
            used = sizeof rooms[0] - 1;
        text += length + 1;
    }
    whole[used] = '\0';
    return whole;
}

long limit_or(long usual)
{
    const char *limit = getenv("ATTACK_LIMIT");
    long number = limit ? atol(limit) : 0;
    return number > 0 ? number : usual;
}

unsigned linger_seconds(void)
{
    const char *linger = getenv("ATTACK_LINGER");
    int seconds = linger ? atoi(linger) : 1;
    return seconds < 0 ? 0 : seconds > 15 ? 15 : (unsigned)seconds;
}

void add_word(struct words *words, const char *format, ...)
{
    char word[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(word, sizeof word, format, arguments);
    va_end(arguments);
    for (char *at = word; *at; at++)
        if (*at == ' ' || *at == ',')
            *at = '?';
    size_t used = strlen(words->text);
    if (used + strlen(word) + 2 < sizeof words->text)
        sprintf(words->text + used, "%s%s", used ? "," : "", word);
    words->count++;
}

int read_start(const char *path, char *buffer, size_t room, size_t *length)
{
    /* O_NONBLOCK: a FIFO or a device must not hold us. */
    int file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0)
        return errno;
    size_t used = 0;
    while (used + 1 < room) {
        ssize_t more = read(file, buffer + used, room - 1 - used);
        if (more < 0 && used == 0) {
            int error = errno;
            close(file);
            return error;
        }
        if (more <= 0)
            break;
        used += (size_t)more;
    }
    buffer[used] = '\0';
    if (length)
        *length = used;
    close(file);
    return 0;
}

char *own_path(const char *name)
{
    static char rooms[4][4096];
    static unsigned next;
    char *path = rooms[next++ % 4];
    const char *folder = getenv("OWN_DIR");
    snprintf(path, sizeof rooms[0], "%s/%s-%d", folder && *folder ? folder : "/tmp", name, getpid());
    return path;
}

bool for_each_process(bool (*visit)(pid_t, void *), void *context)
{
    bool stopped = false;
    DIR *folder = opendir("/proc");
    if (!folder)
        refused(errno, "path=/proc");
    for (struct dirent *entry; !stopped && (entry = readdir(folder));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            stopped = visit(atoi(entry->d_name), context);
    closedir(folder);
    return stopped;
}

int wait_for(pid_t process)
{
    int status = -1;
    while (waitpid(process, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return status;
}

void attempt_read(const struct attack *attack)
{
    char buffer[4096];
    size_t length = 0;
    const char *path = expand(attack->text);
    int error = read_start(path, buffer, sizeof buffer, &length);
    if (error)
        refused(error, "path=%s", path);
    if (length == 0)
        conclude("not-visible", "bytes=0 path=%s", path);
    done("bytes=%zu path=%s", length, path);
}

void attempt_write_open(const struct attack *attack)
{
    /* Opened and closed; nothing is written, and there is no O_TRUNC. */
    const char *path = expand(attack->text);
    int file = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0)
        refused(errno, "path=%s", path);
    done("opened=writable path=%s", path);
}

void attempt_list(const struct attack *attack)
{
    struct words names = {0};
    const char *path = expand(attack->text);
    DIR *folder = opendir(path);
    if (!folder)
        refused(errno, "path=%s", path);
    errno = 0;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            add_word(&names, "%s", entry->d_name);
    if (errno)
        refused(errno, "path=%s call=getdents", path);
    if (names.count == 0)
        conclude("not-visible", "empty=%s", path);
    done("count=%d names=%s", names.count, names.text);
}

void attempt_call(const struct attack *attack)
{
    const long *call = attack->call;
    long result = syscall(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
    judge(result < 0 ? -1 : result, attack->reached, attack->text ? attack->text : "call");
}
