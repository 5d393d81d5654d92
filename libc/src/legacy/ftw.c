/* In place of musl's file: a function of three parameters cannot be called with four in wasm. */
#include <ftw.h>

static int (*visit)(const char *, const struct stat *, int);

static int call(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return visit(path, st, type);
}

int ftw(const char *path, int (*fn)(const char *, const struct stat *, int), int fd_limit)
{
	int (*before)(const char *, const struct stat *, int) = visit;
	visit = fn;
	int r = nftw(path, call, fd_limit, FTW_PHYS);
	visit = before;
	return r;
}

weak_alias(ftw, ftw64);
