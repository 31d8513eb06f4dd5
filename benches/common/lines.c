/* Writes N lines of 100 bytes to standard output as fast as it can: each by itself as loggers do, or with a
 * second argument in blocks of 64 KiB. */
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words)
{
    static char buffer[64 * 1024];
    long lines = count > 1 ? atol(words[1]) : 0;
    setvbuf(stdout, buffer, count > 2 ? _IOFBF : _IOLBF, sizeof buffer);
    for (long line = 1; line <= lines; line++) {
        char text[101] = "0000000000 a line of a hundred bytes, as an app writes them: GET /api/items/42 200 12.3 ms - 551200\n";
        long rest = line;
        for (int place = 9; place >= 0; place--, rest /= 10)
            text[place] = (char)('0' + rest % 10);
        fwrite_unlocked(text, 1, 100, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
