/* mmap and its kin: anonymous memory and files. */
#include "say.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void anonymous(void) {
    size_t page = sysconf(_SC_PAGESIZE), size = 1 << 20;
    unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(p != MAP_FAILED);
    SAY((uintptr_t)p % page);
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++) sum += p[i];
    SAY(sum);
    memset(p, 1, size);
    SAY(mprotect(p, size, PROT_READ | PROT_WRITE));
    SAY(madvise(p, size, MADV_DONTNEED) == 0 || errno == EINVAL);
    SAY(munmap(p, size));
    /* What was unmapped is used again, and empty again. */
    int dirty = 0;
    for (int i = 0; i < 20000; i++) {
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        MUST(p != MAP_FAILED);
        dirty += p[0] | p[size - 1];
        p[0] = p[size - 1] = 1;
        munmap(p, size);
    }
    SAY(dirty);
    p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(p, 7, 3 * page);
    SAY(munmap(p + page, page));
    SAY(p[0] + p[2 * page]);
    SAY(munmap(p, page));
    SAY(munmap(p + 2 * page, page));
    REFUSED(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
    REFUSED(mmap(NULL, page, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
    SAY(munmap((void *)1, page));
    p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[5] = 9;
    p = mremap(p, page, 8 * page, MREMAP_MAYMOVE);
    MUST(p != MAP_FAILED);
    SAY(p[5] + p[7 * page]);
    SAY(munmap(p, 8 * page));
}

static void files(void) {
    size_t page = sysconf(_SC_PAGESIZE);
    int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0644);
    MUST(ftruncate(fd, 3 * page) == 0);
    SAY(pwrite(fd, "start", 5, 0));
    SAY(pwrite(fd, "later", 5, page));
    char *p = mmap(NULL, 3 * page, PROT_READ, MAP_PRIVATE, fd, 0);
    MUST(p != MAP_FAILED);
    TEXT(p);
    TEXT(p + page);
    SAY(munmap(p, 3 * page));
    p = mmap(NULL, 100, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, page);
    MUST(p != MAP_FAILED);
    TEXT(p);
    p[0] = 'L';
    char data[6] = "";
    SAY(pread(fd, data, 5, page));
    TEXT(data);
    SAY(munmap(p, 100));
    close(fd);
    fd = open("mapped", O_RDONLY);
    p = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    MUST(p != MAP_FAILED);
    SAY(close(fd));
    TEXT(p);
    SAY(munmap(p, page));
    REFUSED(mmap(NULL, page, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED);
    fd = open("mapped", O_RDONLY);
    REFUSED(mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 1) == MAP_FAILED);
    close(fd);
}

int main(void) {
    anonymous();
    files();
    void *end = sbrk(0);
    HOLDS(end != (void *)-1);
    SAY(mlock(&end, sizeof end) == 0 || errno == ENOMEM || errno == EPERM);
    return 0;
}
