#include <upstream/unistd.h>

#ifndef _BALENAWASM_VFORK
#define _BALENAWASM_VFORK

#if defined(_XOPEN_SOURCE) || defined(_GNU_SOURCE) || defined(_BSD_SOURCE)

#ifdef __cplusplus
extern "C" {
#endif

/* vfork has to remember the place where it was called; see libc/src/process/vfork.c. Programs that use it are
   compiled as for setjmp. Variables that the child changes are volatile if the parent reads them. */
struct __jmp_buf_tag;
int setjmp (struct __jmp_buf_tag *) __attribute__((__returns_twice__));
struct __jmp_buf_tag *__vfork_place (void);
int __vfork_begin (void);
int __vfork_child (void);
#define vfork() (setjmp(__vfork_place()) ? __vfork_child() : __vfork_begin())

#ifdef __cplusplus
}
#endif

#endif

#endif
