/* What crt/crt1.c keeps for main, in an object of its own: a main without parameters replaces __main_void. */
int __wasm_argc;
char **__wasm_argv;
