/* Starting LLVM's programs. */

#include "cc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Run a program in place of this one. */
_Noreturn void become(char **words)
{
	execv(LLVM, words);
	fail("cannot run %s: %s", LLVM, strerror(errno));
}

static int finished(pid_t pid, const char *name)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("%s", strerror(errno));
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fprintf(stderr, "%s: ended by signal %d\n", name, WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

static pid_t start(char **words, const posix_spawn_file_actions_t *actions)
{
	pid_t pid;
	int error = posix_spawn(&pid, LLVM, actions, NULL, words, environ);
	if (error)
		fail("cannot run %s: %s", LLVM, strerror(error));
	return pid;
}

static void no_input(posix_spawn_file_actions_t *actions)
{
	posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
}

/* Run a program to its end; without `input` its standard input is empty. */
int run(char **words, bool input)
{
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	if (!input)
		no_input(&actions);
	int status = finished(start(words, &actions), words[0]);
	posix_spawn_file_actions_destroy(&actions);
	return status;
}

/* Run a program without input; what it writes to standard output becomes the content of a file, which
 * keeps its own when the program fails. */
int run_into(char **words, const char *path)
{
	posix_spawn_file_actions_t actions;
	char buffer[1 << 16], name[] = "/tmp/cc-XXXXXX";
	ssize_t got;
	int from = mkostemp(name, O_CLOEXEC), to, status;
	if (from < 0)
		fail("/tmp: %s", strerror(errno));
	unlink(name);
	posix_spawn_file_actions_init(&actions);
	no_input(&actions);
	posix_spawn_file_actions_adddup2(&actions, from, 1);
	status = finished(start(words, &actions), words[0]);
	posix_spawn_file_actions_destroy(&actions);
	if (!status) {
		to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0777);
		lseek(from, 0, SEEK_SET);
		while (to >= 0 && (got = read(from, buffer, sizeof buffer)) > 0)
			if (write(to, buffer, got) != got)
				break;
		if (to < 0 || got || close(to) < 0)
			fail("%s: %s", path, strerror(errno));
	}
	close(from);
	return status;
}

/* Run a program without input; what it writes to standard error is the output, with a NUL. */
int captured(char **words, char **output)
{
	posix_spawn_file_actions_t actions;
	int ends[2];
	size_t length = 0, room = 1 << 14;
	char *text = allocate(room);
	if (pipe(ends) < 0)
		fail("%s", strerror(errno));
	fcntl(ends[0], F_SETFD, FD_CLOEXEC);
	fcntl(ends[1], F_SETFD, FD_CLOEXEC);
	posix_spawn_file_actions_init(&actions);
	no_input(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
	pid_t pid = start(words, &actions);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	for (;;) {
		ssize_t got = read(ends[0], text + length, room - length - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		length += got;
		if (room - length < 1 << 12 && !(text = realloc(text, room *= 2)))
			fail("%s", strerror(ENOMEM));
	}
	close(ends[0]);
	text[length] = 0;
	*output = text;
	return finished(pid, words[0]);
}
