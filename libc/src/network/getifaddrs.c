/* In place of musl's file. The mask of the network is not known, and left out. */
#define _GNU_SOURCE
#include <ifaddrs.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include "interfaces.h"

struct entry {
	struct ifaddrs ifa;
	union {
		struct sockaddr any;
		struct sockaddr_in four;
		struct sockaddr_in6 six;
	} address, mask;
};

enum { ENTRIES = 3 };

static void set(struct entry *entry, char *name, unsigned flags, int masked)
{
	entry->ifa.ifa_name = name;
	entry->ifa.ifa_flags = IFF_UP|IFF_RUNNING|flags;
	entry->ifa.ifa_addr = &entry->address.any;
	if (masked) entry->ifa.ifa_netmask = &entry->mask.any;
}

int getifaddrs(struct ifaddrs **result)
{
	static char loopback[] = LOOPBACK_NAME, network[] = NETWORK_NAME;
	struct in_addr address;
	struct entry *list = calloc(ENTRIES, sizeof *list);
	if (!list) return -1;

	set(&list[0], loopback, IFF_LOOPBACK, 1);
	list[0].address.four = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	list[0].mask.four = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(0xff000000) } };
	set(&list[1], loopback, IFF_LOOPBACK, 1);
	list[1].address.six = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	list[1].mask.six = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	for (int i = 0; i < 16; i++) list[1].mask.six.sin6_addr.s6_addr[i] = 0xff;
	list[0].ifa.ifa_next = &list[1].ifa;
	if (__network_address(&address)) {
		set(&list[2], network, 0, 0);
		list[2].address.four = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = address };
		list[1].ifa.ifa_next = &list[2].ifa;
	}
	*result = &list[0].ifa;
	return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
	free(list); /* the first entry begins the one block */
}
