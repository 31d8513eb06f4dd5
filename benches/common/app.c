/* The app of the benchmarks: static, so that what is measured is the way to main(), not a loader.
 *
 *     app FILE exit CODE [MS] stamps, lives for so many milliseconds, and ends with CODE
 *     app FILE pause          stamps, and waits for a signal
 *     app FILE leak CHILDREN  stamps, waits until FILE is not locked, and forks; then each of the
 *                             family takes memory until it is killed
 *
 * FILE holds 64-bit numbers and is shared memory: a stamp costs no system call. The first number
 * counts the runs; run N has a pair at 2N + 1: CLOCK_MONOTONIC in ns at main(), and at the end
 * (of a leak: when the last piece of memory was had). */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES = 64 << 10, PIECE = 64 << 10 };

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void leak(_Atomic uint64_t *last) {
    for (;;) {
        char *piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) _exit(3);
        memset(piece, 1, PIECE);
        atomic_store(last, now());
    }
}

int main(int count, char **words) {
    uint64_t born = now();
    if (count < 3) return 2;
    int file = open(words[1], O_RDWR);
    _Atomic uint64_t *slots = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file == -1 || slots == MAP_FAILED) return 2;
    uint64_t run = atomic_load(&slots[0]);
    slots[2 * run + 1] = born;
    atomic_store(&slots[0], run + 1);
    int argument = count > 3 ? atoi(words[3]) : 0;
    if (strcmp(words[2], "leak") == 0) {
        if (flock(file, LOCK_SH) == -1) return 2;
        for (int child = 0; child < argument; child++)
            if (fork() == 0) break;
        leak(&slots[2 * run + 2]);
    }
    if (strcmp(words[2], "pause") == 0) pause();
    if (count > 4) usleep((useconds_t)atoi(words[4]) * 1000);
    atomic_store(&slots[2 * run + 2], now());
    _exit(argument);
}
