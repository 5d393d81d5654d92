/* In place of musl's file: the constants that its start-up code would find out. */
#include "libc.h"
#include <elf.h>

static size_t auxv[] = { AT_PAGESZ, PAGESIZE, AT_NULL, 0 };

struct __libc __libc = { .auxv = auxv, .page_size = PAGESIZE };

size_t __hwcap;
char *__progname = 0, *__progname_full = 0;

weak_alias(__progname, program_invocation_short_name);
weak_alias(__progname_full, program_invocation_name);
