/* In place of musl's file: the kernel knows names of addresses inside the network. */
#include <netdb.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <net/if.h>
#include <sys/socket.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lookup.h"
#include "syscall.h"

static int number(const struct sockaddr *sa, char *text, size_t size)
{
	const struct sockaddr_in6 *six = (const void *)sa;
	const struct sockaddr_in *four = (const void *)sa;
	char scope[IF_NAMESIZE + 1] = "";
	if (sa->sa_family == AF_INET) return inet_ntop(AF_INET, &four->sin_addr, text, size) ? 0 : EAI_OVERFLOW;
	if (!inet_ntop(AF_INET6, &six->sin6_addr, text, size)) return EAI_OVERFLOW;
	if (six->sin6_scope_id) snprintf(scope, sizeof scope, "%%%u", (unsigned)six->sin6_scope_id);
	if (strlen(text) + strlen(scope) >= size) return EAI_OVERFLOW;
	strcat(text, scope);
	return 0;
}

static int host(const struct sockaddr *sa, socklen_t sl, char *text, size_t size, int flags)
{
	if (!(flags & NI_NUMERICHOST)) {
		int r = door_lookup_address(sa, sl, text, size);
		if (r >= 0) return 0;
		if (r == -ERANGE) return EAI_OVERFLOW;
		if (flags & NI_NAMEREQD) return EAI_NONAME;
	}
	return number(sa, text, size);
}

/* Whether a line of /etc/services is this port's; then its name is cut off at its end. (getservbyport asks
   us, so we cannot ask it.) */
static int names_port(char *line, int port, const char *protocol)
{
	char *rest, *end;
	line[strcspn(line, "#\n")] = 0;
	rest = line + strcspn(line, " \t");
	if (!*rest) return 0;
	*rest++ = 0;
	if (strtoul(rest, &end, 10) != port || *end != '/') return 0;
	size_t length = strlen(protocol);
	return !strncmp(end + 1, protocol, length) && strchr(" \t", end[1 + length]);
}

static int service(const struct sockaddr *sa, char *text, size_t size, int flags)
{
	/* A port is at the same place in both addresses. */
	int port = ntohs(((const struct sockaddr_in *)sa)->sin_port), found = 0;
	char line[256];
	FILE *file = flags & NI_NUMERICSERV ? 0 : fopen("/etc/services", "re");
	while (file && !found && fgets(line, sizeof line, file))
		found = names_port(line, port, flags & NI_DGRAM ? "udp" : "tcp");
	if (file) fclose(file);
	int length = found ? snprintf(text, size, "%s", line) : snprintf(text, size, "%d", port);
	return length < size ? 0 : EAI_OVERFLOW;
}

int getnameinfo(const struct sockaddr *restrict sa, socklen_t sl, char *restrict node, socklen_t nodelen,
	char *restrict serv, socklen_t servlen, int flags)
{
	int problem = 0;
	switch (sa->sa_family) {
	case AF_INET: if (sl < sizeof(struct sockaddr_in)) return EAI_FAMILY; break;
	case AF_INET6: if (sl < sizeof(struct sockaddr_in6)) return EAI_FAMILY; break;
	default: return EAI_FAMILY;
	}
	if (node && nodelen) problem = host(sa, sl, node, nodelen, flags);
	if (!problem && serv && servlen) problem = service(sa, serv, servlen, flags);
	return problem;
}
