/* The app that all managers are given: static, and serving two milliseconds after it was started at the latest.
 *
 *     server PORT             answers every request with the moment of its own start, in ns
 *     server PORT LINES FILE  the same; before that it waits until FILE is there, and writes so many lines of 100 bytes
 *
 * GET /leak takes memory until it is killed, GET /leak-child in a child; GET /daemon leaves a child that has put itself out
 * of its parent's reach, and tells nobody. SIGTERM and SIGINT end it at once. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void end(int number) {
    (void)number;
    _exit(0);
}

/* Twenty MiB a second, as a program that leaks for real but fast. */
static void leak(void) {
    for (;;) {
        char *piece = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) _exit(3);
        memset(piece, 1, 1 << 20);
        usleep(50000);
    }
}

static void lines(long count) {
    char block[6400];
    size_t used = 0;
    for (long number = 1; number <= count; number++) {
        snprintf(block + used, 11, "%010ld", number);
        memset(block + used + 10, 'x', 89);
        block[used + 99] = '\n';
        used += 100;
        if (used != sizeof block && number != count) continue;
        for (size_t at = 0; at < used;) {
            ssize_t written = write(1, block + at, used - at);
            if (written < 0) _exit(4);
            at += (size_t)written;
        }
        used = 0;
    }
}

int main(int count, char **words) {
    struct timespec born;
    clock_gettime(CLOCK_MONOTONIC, &born);
    if (count < 2) return 2;
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0) return 5;
    if (listen(listener, 511) != 0) return 6;
    if (count > 3) {
        while (access(words[3], F_OK) != 0) usleep(1000);
        lines(atol(words[2]));
    }
    char answer[160], request[2048];
    int length = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n%010ld%09ld\n",
                          (long)born.tv_sec, born.tv_nsec);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        ssize_t had = read(client, request, sizeof request - 1);
        if (had > 0) {
            request[had] = 0;
            if (write(client, answer, (size_t)length) < 0) { /* It has gone. */ }
            shutdown(client, SHUT_WR);
            while (read(client, request + had, sizeof request - 1 - (size_t)had) > 0) {}
        }
        close(client);
        if (strncmp(request, "GET /leak ", 10) == 0) leak();
        if (strncmp(request, "GET /leak-child ", 16) == 0 && fork() == 0) leak();
        if (strncmp(request, "GET /daemon ", 12) == 0 && fork() == 0) {
            close(listener);
            setsid();
            if (fork() == 0) pause();
            _exit(0);
        }
    }
}
