/* Pages of linear memory: src/mman/pages.c. */
#include <stddef.h>

#define PAGE 4096UL

hidden char *__pages_take(size_t size);
hidden void __pages_give(char *start, size_t size);
hidden int __pages_extend(char *end, size_t size);
hidden int __pages_used(const char *start, size_t size);
