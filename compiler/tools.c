/* ar, nm and the others: LLVM's own programs, with absolute paths. */

#include "cc.h"

#include <string.h>

/* ar's first word says what to do, its second is the archive; what follows are files for r and q,
 * and names of members otherwise. x puts the members into the working directory. */
static void add_ar_words(struct words *words, int count, char **arguments)
{
	int i = 1;
	while (i < count && arguments[i][0] == '-' && arguments[i][1] == '-')
		add(words, arguments[i++]);
	if (i == count)
		return;
	const char *operation = arguments[i++];
	bool members = !strpbrk(operation, "rq");
	if (strchr(operation, 'x') && !in_root())
		add(words, joined("--output=", directory(), ""));
	add(words, operation);
	/* With a, b or i the name of a member comes first. */
	if (strpbrk(operation, "abi") && i < count)
		add(words, arguments[i++]);
	for (bool archive = true; i < count; i++, archive = false)
		add(words, archive || !members ? absolute(arguments[i]) : arguments[i]);
}

static void add_words(struct words *words, bool copies, int count, char **arguments)
{
	for (int i = 1; i < count; i++) {
		char *word = arguments[i];
		bool output = !strcmp(arguments[i - 1], "-o");
		/* objcopy's last word may be a file that is to be made. */
		output |= copies && i == count - 1;
		if (*word != '-' && (output || exists(word)))
			word = absolute(word);
		else if (*word == '@' && exists(word + 1))
			word = joined("@", absolute(word + 1), "");
		add(words, word);
	}
}

int run_tool(const char *name, int count, char **arguments)
{
	struct words words = {0};
	size_t length = strlen(name);
	add(&words, name);
	if (length >= 2 && !strcmp(name + length - 2, "ar"))
		add_ar_words(&words, count, arguments);
	else if (!strcmp(name, "c++filt") || in_root())
		for (int i = 1; i < count; i++)
			add(&words, arguments[i]);
	else
		add_words(&words, !strcmp(name, "objcopy") || !strcmp(name, "llvm-objcopy"), count, arguments);
	become(words.word);
}
