/*
 * What all files of the attack probe share: the row of a table, how an attack ends, small helpers.
 *
 * The probe runs inside a cage and reports what really happened; whether that is right is decided by the
 * test that started it. An attack runs in a process of its own and ends by one of the functions that do
 * not return.
 */
#ifndef ATTACK_H
#define ATTACK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* One row of a table. `text`, `value`, `call`, `reached` and `more` are for `attempt` to read. */
struct attack {
    const char *number;
    const char *title;
    void (*attempt)(const struct attack *);
    const char *text;
    long value;
    /* A raw system call: its number and its arguments (for `attempt_call`). */
    long call[7];
    /* The errno that shows that the permission check was passed; 0 if none does. */
    int reached;
    const void *more;
};

#define ROW(the_number, the_title, the_attempt, ...) \
    { .number = the_number, .title = the_title, .attempt = the_attempt, __VA_ARGS__ }

/* Tables end with a row without a number. */
#define END_OF_TABLE { .number = NULL }

extern const struct attack file_attacks[];
extern const struct attack folder_attacks[];
extern const struct attack process_attacks[];
extern const struct attack trick_attacks[];
extern const struct attack port_attacks[];
extern const struct attack socket_attacks[];
extern const struct attack network_attacks[];
extern const struct attack listen_attacks[];
extern const struct attack resource_attacks[];
extern const struct attack object_attacks[];
extern const struct attack privilege_attacks[];
extern const struct attack namespace_attacks[];
extern const struct attack mount_attacks[];
extern const struct attack call_attacks[];
extern const struct attack abi_attacks[];
extern const struct attack kernel_attacks[];
extern const struct attack kernel_file_attacks[];
extern const struct attack memory_attacks[];
extern const struct attack inherited_attacks[];

/* Ends of an attack. The detail is `key=value` words. */
_Noreturn void conclude(const char *outcome, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
_Noreturn void done(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void refused(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "done" unless `result` is negative; then the errno, which is `done reached=…` if it is `reached`. */
_Noreturn void judge(long result, int reached, const char *what);

const char *errno_name(int error);

/* The value of a variable; ends the attack as skipped if it is missing. */
const char *need(const char *name);

/* `text` with each $NAME replaced by its value; ends the attack as skipped if one is missing. */
char *expand(const char *text);

/* ATTACK_LIMIT, or the default of the attack. */
long limit_or(long usual);

/* ATTACK_LINGER, in seconds: how long what a test may want to look at stays. At most 15. */
unsigned linger_seconds(void);

/* A list of words for a detail, joined by commas, cut when it is full. */
struct words {
    char text[1200];
    int count;
};
void add_word(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Reads the start of a file: 0 or an errno. `length` may be NULL; what is read ends with a NUL. */
int read_start(const char *path, char *buffer, size_t room, size_t *length);

/* A path for something of ours: beneath OWN_DIR, or /tmp where that is missing. */
char *own_path(const char *name);

/* Calls `visit` for each number that is a name in /proc; stops when it gives true. */
bool for_each_process(bool (*visit)(pid_t process, void *context), void *context);

/* Waits for a process; its status, or -1. */
int wait_for(pid_t process);

/* Attempts that several tables use. */
void attempt_read(const struct attack *attack);       /* reads the file `text` */
void attempt_write_open(const struct attack *attack); /* opens `text` for writing, writes nothing */
void attempt_list(const struct attack *attack);       /* lists the folder `text` */
void attempt_call(const struct attack *attack);       /* makes the raw call `call` */

/* What the probe found when it began, before it opened anything. See inherited.c. */
void remember_inherited(void);

/* Makes an io_uring do one request on a fresh ring: the result, or a negative errno. */
long uring_request(int opcode, int descriptor, const void *address, uint32_t length, uint64_t offset);

/* System calls that the headers of Debian 12 lack, by number; x86_64, syscall_64.tbl of Linux 6.18. */
enum {
    NR_uretprobe = 335,
    NR_uprobe = 336,
    NR_pidfd_send_signal = 424,
    NR_io_uring_setup = 425,
    NR_io_uring_enter = 426,
    NR_io_uring_register = 427,
    NR_open_tree = 428,
    NR_move_mount = 429,
    NR_fsopen = 430,
    NR_fsconfig = 431,
    NR_fsmount = 432,
    NR_fspick = 433,
    NR_pidfd_open = 434,
    NR_clone3 = 435,
    NR_pidfd_getfd = 438,
    NR_process_madvise = 440,
    NR_mount_setattr = 442,
    NR_quotactl_fd = 443,
    NR_landlock_create_ruleset = 444,
    NR_memfd_secret = 447,
    NR_process_mrelease = 448,
    NR_cachestat = 451,
    NR_map_shadow_stack = 453,
    NR_statmount = 457,
    NR_listmount = 458,
    NR_lsm_get_self_attr = 459,
    NR_lsm_set_self_attr = 460,
    NR_lsm_list_modules = 461,
    NR_mseal = 462,
    NR_setxattrat = 463,
    NR_open_tree_attr = 467,
    NR_file_getattr = 468,
    NR_file_setattr = 469,
    NR_listns = 470,
};

#endif
