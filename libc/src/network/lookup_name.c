/* In place of musl's file: host names are the kernel's business, with /etc/hosts, the project's names and what
   grants allow. */
#include <sys/socket.h>
#include <netdb.h>
#include <errno.h>
#include <string.h>
#include "lookup.h"
#include "syscall.h"

struct door_host {
	unsigned family;
	uint8_t address[16];
};

static int none(struct address *buf, int family, int flags)
{
	static const uint8_t loopback[][16] = { { 127, 0, 0, 1 }, { [15] = 1 } };
	static const int families[] = { AF_INET, AF_INET6 };
	int count = 0;
	for (int i = 0; i < 2; i++) {
		if (family != AF_UNSPEC && family != families[i]) continue;
		buf[count] = (struct address){ .family = families[i] };
		if (!(flags & AI_PASSIVE)) memcpy(buf[count].addr, loopback[i], 16);
		count++;
	}
	return count;
}

static int asked(struct address *buf, const char *name, int family)
{
	struct door_host hosts[MAXADDRS];
	int count = door_lookup_name(name, strlen(name), family, hosts, MAXADDRS);
	switch (count) {
	case 0: case -ENOENT: return EAI_NONAME;
	case -EAGAIN: return EAI_AGAIN;
	case -EAFNOSUPPORT: return EAI_FAMILY;
	}
	if (count < 0) {
		errno = -count;
		return EAI_SYSTEM;
	}
	if (count > MAXADDRS) count = MAXADDRS;
	for (int i = 0; i < count; i++) {
		buf[i] = (struct address){ .family = hosts[i].family };
		memcpy(buf[i].addr, hosts[i].address, 16);
	}
	return count;
}

/* AI_V4MAPPED: IPv6 addresses if there are any (AI_ALL: besides), else IPv4 ones in their form. */
static int mapped(struct address *buf, int count, int flags)
{
	int six = 0, kept = 0;
	for (int i = 0; i < count; i++) six += buf[i].family == AF_INET6;
	for (int i = 0; i < count; i++) {
		struct address found = buf[i];
		if (found.family == AF_INET) {
			if (six && !(flags & AI_ALL)) continue;
			memcpy(found.addr + 12, buf[i].addr, 4);
			memcpy(found.addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
			found.family = AF_INET6;
		}
		buf[kept++] = found;
	}
	return kept;
}

int __lookup_name(struct address buf[static MAXADDRS], char canon[static 256], const char *name, int family, int flags)
{
	int count;
	*canon = 0;
	if (!name) return none(buf, family, flags);
	size_t length = strnlen(name, 255);
	if (length - 1 >= 254) return EAI_NONAME;
	memcpy(canon, name, length + 1);
	int mapping = flags & AI_V4MAPPED && family == AF_INET6;
	if (mapping) family = AF_UNSPEC;
	count = __lookup_ipliteral(buf, name, family);
	if (!count && flags & AI_NUMERICHOST) return EAI_NONAME;
	if (!count) count = asked(buf, name, family);
	if (count <= 0) return count ? count : EAI_NONAME;
	return mapping ? mapped(buf, count, flags) : count;
}
