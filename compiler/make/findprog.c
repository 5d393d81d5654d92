/* In place of gnulib's file of that name, which wants a configured gnulib. */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_program(const char *path)
{
	struct stat status;
	return !access(path, X_OK) && !stat(path, &status) && !S_ISDIR(status.st_mode);
}

/* The file that a program's name means in a path: the name itself when it has a slash or is found nowhere, else a
 * path in memory of its own. */
const char *find_in_given_path(const char *name, const char *path, bool for_exec)
{
	(void)for_exec;
	if (strchr(name, '/') || !path)
		return name;
	for (;; path++) {
		size_t length = strcspn(path, ":");
		char *candidate = malloc(length + strlen(name) + 3);
		if (!candidate)
			return name;
		memcpy(candidate, length ? path : ".", length ? length : 1);
		strcpy(candidate + (length ? length : 1), "/");
		strcat(candidate, name);
		if (is_program(candidate))
			return candidate;
		free(candidate);
		path += length;
		if (!*path)
			return name;
	}
}
