/* Where programs begin. */
#include <stdlib.h>
#include <string.h>
#include "door.h"

enum { VERSION = 1, SMALL = 65536, GROW = 65536 };

extern char **__environ;
extern char *__progname, *__progname_full;

void __wasm_call_ctors(void);
int __main_void(void);
/* In C++ programs that throw: ends with a message what nobody catches (compiler/libcxx). */
int __cxa_call_main(int (*)(void)) __attribute__((__weak__));
extern int __wasm_argc;
extern char **__wasm_argv;

/* Memory that is never given back: small things lie in the frame of _start, for the rest memory grows. */
#define ROOM(size) ((size) <= SMALL ? __builtin_alloca(size) : grown(size))

static void *grown(unsigned long size)
{
	unsigned long at = __builtin_wasm_memory_grow(0, (size + GROW - 1) / GROW);
	if (at == -1UL) wasi_proc_exit(127);
	return (void *)(at * GROW);
}

void _start(void)
{
	static const char complaint[] = "this program needs a newer balenawasm\n";
	unsigned long arguments, argument_size, variables, variable_size;
	if (door_attach(VERSION) < 0) {
		door_write(2, complaint, sizeof complaint - 1);
		wasi_proc_exit(127);
	}
	if (wasi_args_sizes_get(&arguments, &argument_size) || wasi_environ_sizes_get(&variables, &variable_size))
		wasi_proc_exit(127);
	unsigned long pointers = (arguments + 1 + variables + 1) * sizeof(char *);
	unsigned long size = pointers + argument_size + variable_size;
	char **argv = ROOM(size), **environ = argv + arguments + 1, *text = (char *)argv + pointers;
	argv[arguments] = environ[variables] = 0;
	if (wasi_args_get(argv, text) || wasi_environ_get(environ, text + argument_size)) wasi_proc_exit(127);

	__wasm_argc = arguments;
	__wasm_argv = argv;
	__environ = environ;
	if (argv[0]) {
		char *slash = strrchr(argv[0], '/');
		__progname_full = argv[0];
		__progname = slash ? slash + 1 : argv[0];
	}
	__wasm_call_ctors();
	exit(__cxa_call_main ? __cxa_call_main(__main_void) : __main_void());
}
