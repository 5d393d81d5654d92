/* What `clang -###` prints: one line for each program that it would run, a blank and then its words
 * in double quotes, with a backslash before `"`, `\` and `$`; among them its own messages. */

#include "cc.h"

#include <string.h>

/* Its introduction, which it prints with -### and -v only. */
static bool is_introduction(const char *line)
{
	static const char *const starts[] = {
		"clang version ", "Target: ", "Thread model: ", "InstalledDir: ",
		"Build config: ", "Configuration file: ", " (in-process)", NULL,
	};
	for (const char *const *start = starts; *start; start++)
		if (!strncmp(line, *start, strlen(*start)))
			return true;
	return false;
}

/* Take the word at `*place` out, in its own memory; NULL at the line's end. */
static char *next_word(char **place)
{
	char *from = *place;
	while (*from == ' ')
		from++;
	if (*from != '"')
		return NULL;
	char *word = ++from, *to = word;
	while (*from && *from != '"') {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	*place = *from ? from + 1 : from;
	*to = 0;
	return word;
}

static struct job *read_job(char *line)
{
	struct job *job = allocate(sizeof *job);
	*job = (struct job){0};
	for (char *word, *place = line; (word = next_word(&place));) {
		/* For its own steps it names the file that it believes to be, then itself. */
		if (job->words.count == 1 && *word != '-')
			job->words.count = 0;
		if (job->words.count && !strcmp(job->words.word[job->words.count - 1], "-o"))
			job->output = word;
		add(&job->words, word);
	}
	return job;
}

/* The jobs, in their order; the rest of the lines, but for the introduction, are messages. */
struct job *read_jobs(char *text, struct words *messages)
{
	struct job *first = NULL, **last = &first;
	for (char *line = text, *next; *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		if (!strncmp(line, " \"", 2)) {
			*last = read_job(line);
			last = &(*last)->next;
		} else if (!is_introduction(line)) {
			add(messages, line);
		}
	}
	return first;
}
