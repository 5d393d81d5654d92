/* cc and the other names of the compiler's programs: see README.md. */

#ifndef CC_H
#define CC_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>

#define LLVM "/usr/lib/llvm.wasm"
#define CONFIGURATION "/usr/lib/clang/balenaos.cfg"
#define SHARED_REFUSED \
	"-shared: programs here are linked statically; there are no shared libraries"

/* A growing list of words, ended by a NULL as exec wants it. */
struct words {
	char **word;
	size_t count, room;
};

/* main.c */
_Noreturn void fail(const char *format, ...);
void *allocate(size_t size);
char *joined(const char *first, const char *second, const char *third);
void add(struct words *words, const char *word);

/* paths.c: LLVM knows no working directory */
void find_directory(void);
const char *directory(void);
bool in_root(void);
char *absolute(const char *path);
bool exists(const char *path);

/* processes.c */
_Noreturn void become(char **words);
int run(char **words, bool input);
int captured(char **words, char **output);
int run_into(char **words, const char *path);

/* jobs.c */
struct job {
	struct words words;
	const char *output;
	bool failed;
	struct job *next;
};
struct job *read_jobs(char *text, struct words *messages);

/* driver.c, tools.c */
void mend_words(struct words *words);
int drive(const char *name, int count, char **arguments);
int run_tool(const char *name, int count, char **arguments);

#endif
