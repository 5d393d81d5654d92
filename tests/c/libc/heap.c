/* The heap: sizes, alignment, contents, reuse. */
#include "say.h"

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

static uint32_t state = 12345;

static uint32_t any(void) { return state = state * 1664525u + 1013904223u; }

static void alignment(void) {
    for (size_t align = 16; align <= 65536; align *= 4) {
        void *p = aligned_alloc(align, align * 2);
        MUST(p);
        printf("%zu: %d\n", align, (int)((uintptr_t)p % align));
        free(p);
    }
    void *p = NULL;
    SAY(posix_memalign(&p, 4096, 100));
    SAY((uintptr_t)p % 4096);
    free(p);
    SAY(posix_memalign(&p, 3, 100));
    p = memalign(256, 10);
    SAY((uintptr_t)p % 256);
    free(p);
    p = malloc(1);
    SAY((uintptr_t)p % _Alignof(max_align_t));
    HOLDS(malloc_usable_size(p) >= 1);
    free(p);
}

static void contents(void) {
    unsigned char *p = calloc(1000, 1000);
    MUST(p);
    unsigned sum = 0;
    for (int i = 0; i < 1000000; i++) sum += p[i];
    SAY(sum);
    memset(p, 7, 1000000);
    free(p);
    p = calloc(1000, 1000);
    for (int i = 0; i < 1000000; i++) sum += p[i];
    SAY(sum);
    for (int i = 0; i < 1000000; i++) p[i] = (unsigned char)i;
    p = realloc(p, 4000000);
    MUST(p);
    int same = 1;
    for (int i = 0; i < 1000000; i++) same &= p[i] == (unsigned char)i;
    SAY(same);
    p = realloc(p, 10);
    SAY(p[9]);
    free(p);
    free(NULL);
    HOLDS((p = realloc(NULL, 10)) != NULL);
    free(p);
}

static void refusals(void) {
    volatile size_t most = SIZE_MAX;
    /* A compiler may leave out what nobody looks at. */
    void *volatile none;
    HOLDS((none = malloc(most - 100)) == NULL);
    HOLDS((none = calloc(most / 2, 3)) == NULL);
    HOLDS((none = reallocarray(NULL, most / 2, 4)) == NULL);
}

/* A server's life: what is freed is used again, so this fits into little memory. */
static void reuse(void) {
    enum { SLOTS = 512 };
    static unsigned char *slots[SLOTS];
    static size_t sizes[SLOTS];
    int broken = 0;
    for (int round = 0; round < 200000; round++) {
        int i = any() % SLOTS;
        if (slots[i]) {
            broken += slots[i][0] != (unsigned char)i || slots[i][sizes[i] - 1] != (unsigned char)i;
            free(slots[i]);
        }
        uint32_t kind = any() % 100;
        sizes[i] = kind < 80 ? 1 + any() % 500 : kind < 99 ? 1 + any() % 20000 : 1 + any() % 300000;
        slots[i] = malloc(sizes[i]);
        MUST(slots[i]);
        slots[i][0] = slots[i][sizes[i] - 1] = (unsigned char)i;
    }
    SAY(broken);
    for (int i = 0; i < SLOTS; i++) free(slots[i]);
    /* 64 GiB in all, a mebibyte at a time. */
    for (int i = 0; i < 65536; i++) {
        char *p = malloc(1 << 20);
        MUST(p);
        p[i] = 1;
        free(p);
    }
    /* Growing by small steps, as vectors do. */
    char *p = NULL;
    for (size_t size = 1; size < 8000000; size += 1 + size / 3) MUST(p = realloc(p, size));
    free(p);
    puts("reused");
}

int main(void) {
    alignment();
    contents();
    refusals();
    reuse();
    return 0;
}
