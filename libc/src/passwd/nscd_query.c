/* In place of musl's file: there is no name service daemon to ask. */
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include "nscd.h"

FILE *__nscd_query(int32_t request, const char *key, int32_t *reply, size_t length, int *swap)
{
	memset(reply, 0, length);
	return fopen("/dev/null", "re");
}
