/* A wasm instance shows no registers. */
#undef __WORDSIZE
#define __WORDSIZE 32

#define ELF_NGREG 1
typedef unsigned long elf_greg_t, elf_gregset_t[ELF_NGREG];
typedef struct { unsigned long __none; } elf_fpregset_t;
