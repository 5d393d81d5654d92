/* One program under many names: what its argv[0] ends in says which of LLVM's programs is wanted. */

#include "cc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *program;

_Noreturn void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fprintf(stderr, "%s: error: ", program);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	exit(1);
}

void *allocate(size_t size)
{
	void *memory = malloc(size);
	if (!memory)
		fail("%s", strerror(ENOMEM));
	return memory;
}

char *joined(const char *first, const char *second, const char *third)
{
	size_t a = strlen(first), b = strlen(second), c = strlen(third);
	char *text = allocate(a + b + c + 1);
	memcpy(text, first, a);
	memcpy(text + a, second, b);
	memcpy(text + a + b, third, c + 1);
	return text;
}

void add(struct words *words, const char *word)
{
	if (words->count + 1 >= words->room) {
		words->room = 2 * words->room + 16;
		words->word = realloc(words->word, words->room * sizeof *words->word);
		if (!words->word)
			fail("%s", strerror(ENOMEM));
	}
	words->word[words->count++] = (char *)word;
	words->word[words->count] = NULL;
}

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (!strcmp(name, *names))
			return true;
	return false;
}

int main(int count, char **arguments)
{
	static const char *const c[] = {"cc", "c89", "c99", "gcc", "clang", NULL};
	static const char *const cxx[] = {"c++", "g++", "clang++", NULL};
	const char *slash = strrchr(arguments[0], '/');
	program = slash ? slash + 1 : arguments[0];
	find_directory();
	if (is_one_of(program, c))
		return drive("clang", count, arguments);
	if (is_one_of(program, cxx))
		return drive("clang++", count, arguments);
	return run_tool(program, count, arguments);
}
