/* LLVM was built with a C library that has no working directory: in it, relative paths count from
 * the root. So what it is given are absolute paths. */

#include "cc.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static char here[PATH_MAX];

void find_directory(void)
{
	if (!getcwd(here, sizeof here))
		fail("the working directory: %s", strerror(errno));
}

const char *directory(void)
{
	return here;
}

bool in_root(void)
{
	return !strcmp(here, "/");
}

char *absolute(const char *path)
{
	if (*path == '/' || in_root())
		return (char *)path;
	while (path[0] == '.' && path[1] == '/')
		for (path += 2; *path == '/'; path++)
			;
	return strcmp(path, ".") ? joined(here, "/", path) : here;
}

bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}
