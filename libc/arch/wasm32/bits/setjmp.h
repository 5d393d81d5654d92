/* As large as libsetjmp of the compiler's package expects. */
typedef unsigned long __jmp_buf[8];
