/* Writes N lines of 100 bytes to standard output as fast as it can: "lines", each by itself as loggers do; "stdio",
 * in the blocks that the C library chooses; "blocks", of 64 KiB. First it says on standard error what the
 * monotonic clock shows, in nanoseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    fprintf(stderr, "%ld%09ld\n", (long)now.tv_sec, now.tv_nsec);
    static char buffer[64 * 1024];
    if (words[2][0] == 'l')
        setvbuf(stdout, buffer, _IOLBF, sizeof buffer);
    if (words[2][0] == 'b')
        setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    long lines = atol(words[1]);
    for (long line = 1; line <= lines; line++) {
        char text[101] = "0000000000 a line of a hundred bytes, as an app writes them: GET /api/items/42 200 12.3 ms - 551200\n";
        long rest = line;
        for (int place = 9; place >= 0; place--, rest /= 10)
            text[place] = (char)('0' + rest % 10);
        fwrite_unlocked(text, 1, 100, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
