/* The compiler driver: has clang say what it would run, and runs it, for clang cannot start programs
 * here. What clang does in one step of its own it does at once. */

#include "cc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static bool is_one_of(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (!strcmp(word, *words))
			return true;
	return false;
}

/* Options whose value is the next word. */
static bool takes_a_word(const char *option)
{
	static const char *const options[] = {
		"-o", "-I", "-D", "-U", "-L", "-l", "-x", "-include", "-imacros", "-isystem",
		"-iquote", "-idirafter", "-iprefix", "-iwithprefix", "-isysroot", "-MF", "-MT", "-MQ",
		"-Xclang", "-Xlinker", "-Xpreprocessor", "-Xassembler", "-mllvm", "-T", "-u", "-e", "-z",
		"-target", "-arch", "-resource-dir", "--sysroot", "--param", "-working-directory", NULL,
	};
	return is_one_of(option, options);
}

/* A file that one step turns into an object; assembler sources take two. */
static bool is_plain_source(const char *path)
{
	static const char *const suffixes[] = {
		".c", ".i", ".cc", ".cp", ".cpp", ".cxx", ".c++", ".C", ".CPP", ".ii", NULL,
	};
	const char *dot = strrchr(path, '.');
	return dot && is_one_of(dot, suffixes);
}

/* What the command line asks for. */
enum request { SEVERAL_STEPS, ONE_STEP, INFORMATION, NOTHING };

struct inputs {
	int count, plain_sources;
};

static void count_input(struct inputs *inputs, const char *word)
{
	inputs->count++;
	inputs->plain_sources += is_plain_source(word);
}

static bool asks_for_information(const char *word)
{
	return starts(word, "-print-") || starts(word, "--print-") || starts(word, "-dump") ||
	       !strcmp(word, "-###") || !strcmp(word, "--version") || !strcmp(word, "--help");
}

static enum request understand(int count, char **words)
{
	static const char *const steps[] = {"-c", "-S", "-E", "-fsyntax-only", "-M", "-MM", NULL};
	bool one_step = false, kept = false;
	struct inputs inputs = {0};
	for (int i = 1; i < count; i++) {
		const char *word = words[i];
		if (!strcmp(word, "-shared"))
			fail(SHARED_REFUSED);
		if (asks_for_information(word))
			return INFORMATION;
		if (*word != '-' || !word[1] || starts(word, "-l"))
			count_input(&inputs, word);
		kept |= starts(word, "-save-temps") || starts(word, "--save-temps");
		one_step |= is_one_of(word, steps);
		i += takes_a_word(word);
	}
	if (!inputs.count)
		return NOTHING;
	return one_step && inputs.count == 1 && inputs.plain_sources && !kept ? ONE_STEP
	                                                                      : SEVERAL_STEPS;
}

/* clang's own command line: ours, then the caller's. */
static struct words clang_words(const char *name, int count, char **arguments)
{
	struct words words = {0};
	add(&words, name);
	add(&words, "--config=" CONFIGURATION);
	if (!in_root())
		add(&words, joined("-working-directory=", directory(), ""));
	for (int i = 1; i < count; i++) {
		char *word = arguments[i];
		if (*word == '@' && exists(word + 1))
			word = joined("@", absolute(word + 1), "");
		/* clang takes it for shared memory. There is one thread, and nothing to prepare. */
		else if (!strcmp(word, "-pthread") || !strcmp(word, "-pthreads"))
			word = "-D_REENTRANT";
		add(&words, word);
	}
	return words;
}

/* Make the relative paths of the linker or the assembler absolute: neither can be told the working
 * directory. Other words that look like paths are values of options or name nothing. */
void mend_words(struct words *words)
{
	static const char *const values[] = {
		"-z", "-m", "-e", "-u", "-y", "-mllvm", "-main-file-name", "-x", "-triple", NULL,
	};
	if (in_root())
		return;
	for (size_t i = 1; i < words->count; i++) {
		char *word = words->word[i];
		const char *before = words->word[i - 1];
		if (starts(word, "-L") && word[2])
			words->word[i] = joined("-L", absolute(word + 2), "");
		else if (starts(word, "-Map=") || starts(word, "--Map="))
			words->word[i] = joined("--Map=", absolute(strchr(word, '=') + 1), "");
		else if (!strcmp(before, "-o") || !strcmp(before, "-Map") || !strcmp(before, "--Map"))
			words->word[i] = absolute(word);
		else if (*word != '-' && !is_one_of(before, values) && exists(word))
			words->word[i] = absolute(word);
	}
}

static bool is_linker(const char *program)
{
	const char *slash = strrchr(program, '/');
	return !strcmp(slash ? slash + 1 : program, "wasm-ld");
}

static bool names(const struct job *job, const char *path)
{
	for (size_t i = 1; i < job->words.count; i++)
		if (!strcmp(job->words.word[i], path))
			return true;
	return false;
}

static bool is_input_of_a_later(const struct job *job)
{
	if (job->output)
		for (const struct job *later = job->next; later; later = later->next)
			if (names(later, job->output))
				return true;
	return false;
}

static bool needs_what_failed(const struct job *first, const struct job *job)
{
	for (; first != job; first = first->next)
		if (first->failed && first->output && names(job, first->output))
			return true;
	return false;
}

/* What is linked may be run: as the linker does elsewhere, which cannot here, for WASI has no modes. */
static void make_executable(const char *path)
{
	struct stat found;
	mode_t mask = umask(0);
	umask(mask);
	if (path && !stat(path, &found) && S_ISREG(found.st_mode))
		chmod(path, 0777 & ~mask);
}

/* Run the jobs; the first status that is not 0 is the compiler's. Those that do not need what failed
 * are run all the same, as clang does. */
static int run_jobs(struct job *first, bool verbose)
{
	int status = 0;
	for (struct job *job = first; job; job = job->next) {
		char **words = job->words.word;
		bool links = is_linker(words[0]), assembles = words[1] && !strcmp(words[1], "-cc1as");
		if (needs_what_failed(first, job)) {
			job->failed = true;
			continue;
		}
		if (links || assembles)
			mend_words(&job->words);
		if (verbose) {
			for (char **word = words; *word; word++)
				fprintf(stderr, " \"%s\"", *word);
			fputc('\n', stderr);
		}
		int code = run(words, !links);
		if (!code && links)
			make_executable(job->output);
		if (!code)
			continue;
		job->failed = true;
		if (!status)
			status = code;
		if (links)
			fprintf(stderr, "clang: error: linker command failed with exit code %d"
				" (use -v to see invocation)\n", code);
	}
	for (struct job *job = first; job; job = job->next)
		if (is_input_of_a_later(job) && starts(job->output, "/tmp/"))
			unlink(job->output);
	return status;
}

int drive(const char *name, int count, char **arguments)
{
	enum request request = understand(count, arguments);
	struct words words = clang_words(name, count, arguments), messages = {0};
	bool verbose = false;
	if (request == NOTHING) {
		/* Without our own words, among which are some for the linker: inputs for clang. */
		arguments[0] = (char *)name;
		become(arguments);
	}
	if (request != SEVERAL_STEPS)
		become(words.word);
	for (int i = 1; i < count; i++)
		verbose |= !strcmp(arguments[i], "-v");
	add(&words, "-###");
	char *text;
	int status = captured(words.word, &text);
	struct job *jobs = read_jobs(text, &messages);
	for (size_t i = 0; i < messages.count; i++)
		fprintf(stderr, "%s\n", messages.word[i]);
	if (status)
		return status;
	for (struct job *job = jobs; job; job = job->next)
		for (size_t i = 1; i < job->words.count; i++)
			if (!strcmp(job->words.word[i], "-shared"))  /* from an @file */
				fail(SHARED_REFUSED);
	return run_jobs(jobs, verbose);
}
