/* Counts what comes in, as any C program that was written for another machine. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    const char *name = getenv("NAME");
    printf("Hello %s from Emscripten\n", name ? name : "world");
    for (int i = 1; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);

    long lines = 0, words = 0, characters = 0;
    int inside = 0;
    for (int c; (c = getchar()) != EOF; characters++) {
        lines += c == '\n';
        words += !inside && !isspace(c);
        inside = !isspace(c);
    }
    printf("%ld lines, %ld words, %ld characters\n", lines, words, characters);
    return ferror(stdin) != 0;
}
