/* In place of musl's file. */
#define _GNU_SOURCE
#include <string.h>
#include <errno.h>
#include "interfaces.h"

char *if_indextoname(unsigned index, char *name)
{
	struct in_addr address;
	if (index == LOOPBACK) return strcpy(name, LOOPBACK_NAME);
	if (index == NETWORK && __network_address(&address)) return strcpy(name, NETWORK_NAME);
	errno = ENXIO;
	return 0;
}
