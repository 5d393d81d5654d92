/* setjmp and longjmp, through frames and more than once. */
#include <setjmp.h>
#include <stdio.h>

static jmp_buf place;

static void down(int depth) {
    if (depth == 0) longjmp(place, 7);
    down(depth - 1);
}

int main(int argc, char **argv) {
    volatile int rounds = 0;
    int value = setjmp(place);
    if (value != 0) rounds++;
    if (rounds < 3) down(argc + 4);
    printf("%d rounds, value %d, %s\n", rounds, value, argc > 1 ? argv[1] : "-");
    return 0;
}
