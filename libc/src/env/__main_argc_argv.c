/* A main with three parameters. */
extern char **__environ;

int main_with_environ(int argc, char **argv, char **environ) __asm__("main");

int __main_argc_argv(int argc, char **argv)
{
	return main_with_environ(argc, argv, __environ);
}
