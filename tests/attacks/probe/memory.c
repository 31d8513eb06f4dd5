/*
 * Memory and binaries: code that is written and run (209, allowed by policy), page faults held by user space
 * (210), read-only memory written through /proc (224), and the runner's binary (146).
 */
#include "attack.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* "mov eax, 42; ret" */
static const unsigned char forty_two[] = {0xb8, 42, 0, 0, 0, 0xc3};

/* 0: writable and executable at once; 1: first the one, then the other. */
static void run_written_code(const struct attack *attack)
{
    int rights = attack->value ? PROT_READ | PROT_WRITE : PROT_READ | PROT_WRITE | PROT_EXEC;
    void *memory = mmap(NULL, 4096, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        refused(errno, "call=mmap");
    memcpy(memory, forty_two, sizeof forty_two);
    if (attack->value && mprotect(memory, 4096, PROT_READ | PROT_EXEC) < 0)
        refused(errno, "call=mprotect");
    done("answer=%d", ((int (*)(void))memory)());
}

/* Whether a copy of ourselves runs; it prints its usage and ends with 2. The descriptor is close-on-exec. */
static _Noreturn void judge_run(int program, const char *path)
{
    char *arguments[] = {"attack", NULL}, *environment[] = {NULL};
    int ends[2], error = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        refused(errno, "call=pipe2");
    pid_t child = fork();
    if (child == 0) {
        int nothing = open("/dev/null", O_RDWR);
        dup2(nothing, 2);
        syscall(SYS_execveat, program, path ? path : "", arguments, environment, path ? 0 : AT_EMPTY_PATH);
        error = errno;
        _exit(write(ends[1], &error, sizeof error) < 0);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], &error, sizeof error);
    int status = wait_for(child);
    if (path)
        unlink(path);
    if (length == sizeof error)
        refused(error, "call=execveat");
    done("status=%d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

static void copy_to(int to)
{
    struct stat about;
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (to < 0 || from < 0 || fstat(from, &about) < 0 || sendfile(to, from, NULL, (size_t)about.st_size) < 0)
        refused(errno, "call=copy");
    close(from);
}

static void run_memory_file(const struct attack *attack)
{
    int program = memfd_create("attack", MFD_CLOEXEC | (unsigned)attack->value);
    copy_to(program);
    judge_run(program, NULL);
}

static void run_from_folder(const struct attack *attack)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/attack-run-%d", expand(attack->text), getpid());
    int program = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    if (program < 0)
        refused(errno, "path=%s", path);
    copy_to(program);
    close(program);
    judge_run(AT_FDCWD, path);
}

/* The stack, made executable. */
static void run_on_stack(const struct attack *attack)
{
    unsigned char code[8192];
    (void)attack;
    unsigned char *page = (void *)(((uintptr_t)code + 4095) & ~(uintptr_t)4095);
    memcpy(page, forty_two, sizeof forty_two);
    if (mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
        refused(errno, "call=mprotect");
    done("answer=%d", ((int (*)(void))(void *)page)());
}

/* Memory at address 0, which mmap_min_addr keeps free, proc_sys_vm(5). */
static void map_zero(const struct attack *attack)
{
    (void)attack;
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    judge(memory == MAP_FAILED ? -1 : 0, 0, "mmap-0");
}

static void secret_memory(const struct attack *attack)
{
    (void)attack;
    judge(syscall(NR_memfd_secret, 0), 0, "memfd_secret");
}

/* A device gives descriptors that hold faults of the kernel too, userfaultfd(2). */
static void hold_faults_by_device(const struct attack *attack)
{
    (void)attack;
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0)
        refused(errno, "call=open");
    judge(ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC), 0, "USERFAULTFD_IOC_NEW");
}

static const volatile char constant[] = "read-only";

/* /proc/self/mem writes what is mapped read-only, as debuggers do (FOLL_FORCE). Only ourselves. */
static void write_own_constant(const struct attack *attack)
{
    (void)attack;
    int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    if (memory < 0)
        refused(errno, "call=open");
    if (pwrite(memory, "WRITTEN", 7, (off_t)(uintptr_t)constant) < 0)
        refused(errno, "call=pwrite");
    if (constant[0] == 'W')
        done("content=changed");
    conclude("unchanged", "content=same");
}

/* Through a descriptor that only names it, opened again by /proc (CVE-2019-5736). Nothing is written. */
static void reopen_for_writing(const struct attack *attack)
{
    char path[64];
    const char *what = expand(attack->text);
    int named = open(what, O_PATH | O_CLOEXEC);
    if (named < 0)
        refused(errno, "call=open path=%s", what);
    snprintf(path, sizeof path, "/proc/self/fd/%d", named);
    judge(open(path, O_RDWR | O_CLOEXEC), 0, what);
}

/* The binary by its name: a new one put in its place. Only tried by a name that nobody has. */
static void write_beside_binary(const struct attack *attack)
{
    char binary[4096], path[4200];
    ssize_t length = readlink(attack->text, binary, sizeof binary - 1);
    if (length < 0)
        refused(errno, "path=%s", attack->text);
    binary[length] = '\0';
    snprintf(path, sizeof path, "%s.attack-%d", binary, getpid());
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int error = errno;
    unlink(path);
    errno = error;
    judge(file, 0, path);
}

static void change_mode_of(const struct attack *attack)
{
    struct stat about;
    if (stat(attack->text, &about) < 0)
        refused(errno, "path=%s", attack->text);
    judge(chmod(attack->text, about.st_mode & 07777), 0, "chmod-same");
}

const struct attack memory_attacks[] = {
    ROW("146a", "open our own binary for writing", attempt_write_open, .text = "/proc/self/exe"),
    ROW("146b", "open pid 1's binary for writing", attempt_write_open, .text = "/proc/1/exe"),
    ROW("146c", "open our own binary again through O_PATH", reopen_for_writing, .text = "/proc/self/exe"),
    ROW("146d", "open pid 1's binary again through O_PATH", reopen_for_writing, .text = "/proc/1/exe"),
    ROW("146e", "make a file beside pid 1's binary", write_beside_binary, .text = "/proc/1/exe"),
    ROW("146f", "change the mode of pid 1's binary (the same)", change_mode_of, .text = "/proc/1/exe"),
    ROW("209a", "memory that is writable and executable (allowed)", run_written_code),
    ROW("209b", "memory that is written, then executable (allowed)", run_written_code, .value = 1),
    ROW("209c", "run a memfd (allowed)", run_memory_file),
    ROW("209d", "run a memfd made not executable (MFD_NOEXEC_SEAL)", run_memory_file, .value = 8),
    ROW("209e", "memfd_secret", secret_memory),
    ROW("209f", "run a file in /tmp", run_from_folder, .text = "/tmp"),
    ROW("209g", "run a file in OWN_DIR (allowed)", run_from_folder, .text = "$OWN_DIR"),
    ROW("209h", "run a file in /dev/shm", run_from_folder, .text = "/dev/shm"),
    ROW("209i", "run code on the stack (allowed)", run_on_stack),
    ROW("209j", "map address 0", map_zero),
    ROW("210a", "userfaultfd, also for faults of the kernel", attempt_call, .text = "userfaultfd",
        .call = {SYS_userfaultfd, O_CLOEXEC}),
    ROW("210b", "userfaultfd, user mode only", attempt_call, .text = "userfaultfd",
        .call = {SYS_userfaultfd, O_CLOEXEC | 1}),
    ROW("210c", "userfaultfd by its device", hold_faults_by_device),
    ROW("224", "write our own read-only memory through /proc (allowed)", write_own_constant),
    END_OF_TABLE,
};
