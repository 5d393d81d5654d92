/* In place of musl's file: looks for the program along PATH as execvp does. */
#define _GNU_SOURCE
#include <spawn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int posix_spawnp(pid_t *restrict res, const char *restrict file, const posix_spawn_file_actions_t *fa,
	const posix_spawnattr_t *restrict attr, char *const argv[restrict], char *const envp[restrict])
{
	const char *path = getenv("PATH"), *end;
	size_t length = strnlen(file, NAME_MAX + 1);
	int found = ENOENT;
	char name[PATH_MAX + NAME_MAX + 1];

	if (!length) return ENOENT;
	if (strchr(file, '/')) return posix_spawn(res, file, fa, attr, argv, envp);
	if (length > NAME_MAX) return ENAMETOOLONG;
	if (!path) path = "/usr/local/bin:/bin:/usr/bin";
	for (;; path = end + 1) {
		end = strchrnul(path, ':');
		size_t folder = end - path;
		if (folder < PATH_MAX) {
			memcpy(name, path, folder);
			name[folder] = '/';
			memcpy(name + folder + !!folder, file, length + 1);
			int r = posix_spawn(res, name, fa, attr, argv, envp);
			if (r != ENOENT && r != ENOTDIR && r != EACCES) return r;
			if (r == EACCES) found = r;
		}
		if (!*end) return found;
	}
}
