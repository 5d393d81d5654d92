/* The compiler names main after its parameters: `__main_void` when it has none, `__main_argc_argv` with two, and
   `main` with three. crt/crt1.c calls the first. */

int __main_argc_argv(int argc, char **argv);

extern int __wasm_argc;
extern char **__wasm_argv;

int __main_void(void)
{
	return __main_argc_argv(__wasm_argc, __wasm_argv);
}
