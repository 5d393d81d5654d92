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

static void add_words(struct words *words, int count, char **arguments)
{
	for (int i = 1; i < count; i++) {
		char *word = arguments[i];
		if (*word != '-' && (!strcmp(arguments[i - 1], "-o") || exists(word)))
			word = absolute(word);
		else if (*word == '@' && exists(word + 1))
			word = joined("@", absolute(word + 1), "");
		add(words, word);
	}
}

/* strip and objcopy set the output's permissions, which WASI cannot, and fail. To standard output they
 * write all the same. */
static int rewrite(const char *name, bool strips, int count, char **arguments)
{
	struct words options = {0}, files = {0};
	const char *output = NULL;
	int status = 0;
	add(&options, name);
	for (int i = 1; i < count; i++) {
		char *word = arguments[i];
		if (!strcmp(word, "-o") && i + 1 < count)
			output = arguments[++i];
		else if (*word != '-' && (exists(word) || (!strips && files.count)))
			add(&files, word);
		else
			add(&options, word);
	}
	if (!strips && files.count == 2)
		output = files.word[--files.count];
	if (!files.count)
		become(options.word);
	for (size_t i = 0; i < files.count && !status; i++) {
		struct words words = {0};
		for (size_t k = 0; k < options.count; k++)
			add(&words, options.word[k]);
		if (strips)
			add(&words, "-o");
		add(&words, strips ? "-" : absolute(files.word[i]));
		add(&words, strips ? absolute(files.word[i]) : "-");
		status = run_into(words.word, output ? output : files.word[i]);
	}
	return status;
}

static bool ends(const char *name, const char *with)
{
	size_t length = strlen(name), tail = strlen(with);
	return length >= tail && !strcmp(name + length - tail, with);
}

int run_tool(const char *name, int count, char **arguments)
{
	struct words words = {0};
	if (ends(name, "strip") || ends(name, "objcopy"))
		return rewrite(name, ends(name, "strip"), count, arguments);
	/* LLVM's linker is several; wasm-ld is ours. */
	add(&words, strcmp(name, "ld") ? name : "wasm-ld");
	if (ends(name, "ar"))
		add_ar_words(&words, count, arguments);
	else if (ends(name, "c++filt") || ends(name, "ld"))
		for (int i = 1; i < count; i++)
			add(&words, arguments[i]);
	else
		add_words(&words, count, arguments);
	if (ends(name, "ld"))
		mend_words(&words);
	become(words.word);
}
