/* Host and service names, and addresses as text. The container's files are the test's own. */
#include "say.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static void show(const char *host, const char *service, int flags, int family) {
    struct addrinfo hints = {.ai_flags = flags, .ai_family = family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int error = getaddrinfo(host, service, &hints, &found);
    printf("%s %s:", host ? host : "-", service ? service : "-");
    if (error) {
        printf(" error %d\n", error);
        return;
    }
    for (struct addrinfo *p = found; p; p = p->ai_next) {
        char name[64], port[16];
        getnameinfo(p->ai_addr, p->ai_addrlen, name, sizeof name, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
        printf(" %s %s type %d", name, port, p->ai_socktype);
    }
    puts("");
    freeaddrinfo(found);
}

static void texts(void) {
    struct in_addr four;
    struct in6_addr six;
    char text[64];
    SAY(inet_pton(AF_INET, "192.168.1.2", &four));
    SAY(ntohl(four.s_addr));
    TEXT(inet_ntop(AF_INET, &four, text, sizeof text));
    SAY(inet_pton(AF_INET, "1.2.3", &four));
    SAY(inet_pton(AF_INET6, "2001:db8::1", &six));
    TEXT(inet_ntop(AF_INET6, &six, text, sizeof text));
    SAY(inet_pton(AF_INET6, "::ffff:1.2.3.4", &six));
    TEXT(inet_ntop(AF_INET6, &six, text, sizeof text));
    REFUSED(inet_ntop(AF_INET6, &six, text, 3) == NULL);
    SAY(inet_aton("127.1", &four));
    TEXT(inet_ntoa(four));
    SAY(inet_addr("1.2.3.4") == htonl(0x01020304));
    SAY(htons(0x1234) == 0x3412);
    SAY(IN6_IS_ADDR_LOOPBACK(&in6addr_loopback));
}

int main(void) {
    texts();
    show("127.0.0.1", "80", 0, AF_UNSPEC);
    show("::1", "443", AI_NUMERICHOST, AF_UNSPEC);
    show("localhost", "80", 0, AF_INET);
    show("nonsense name", "80", AI_NUMERICHOST, AF_UNSPEC);
    show(NULL, "8080", AI_PASSIVE, AF_INET);
    show(NULL, "8080", 0, AF_INET);
    show("127.0.0.1", NULL, 0, AF_UNSPEC);
    show("127.0.0.1", "http", 0, AF_INET);
    show("127.0.0.1", "no-such-service", 0, AF_INET);
    show("no-such-host.invalid", "80", 0, AF_INET);
    HOLDS(strlen(gai_strerror(EAI_NONAME)) > 0);
    struct hostent *host = gethostbyname("localhost");
    MUST(host);
    TEXT(host->h_name);
    SAY(host->h_addrtype == AF_INET);
    TEXT(inet_ntoa(*(struct in_addr *)host->h_addr_list[0]));
    HOLDS(gethostbyname("no-such-host.invalid") == NULL);
    SAY(h_errno == HOST_NOT_FOUND || h_errno == TRY_AGAIN || h_errno == NO_DATA);
    struct servent *service = getservbyname("http", "tcp");
    MUST(service);
    SAY(ntohs(service->s_port));
    service = getservbyport(htons(22), "tcp");
    TEXT(service ? service->s_name : NULL);
    HOLDS(getservbyname("no-such-service", "tcp") == NULL);
    struct protoent *protocol = getprotobyname("tcp");
    SAY(protocol ? protocol->p_proto : 0);
    char name[64], port[32];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(22)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    SAY(getnameinfo((struct sockaddr *)&address, sizeof address, name, sizeof name, port,
                    sizeof port, 0));
    TEXT(name);
    TEXT(port);
    HOLDS(gethostname(name, sizeof name) == 0 && *name);
    return 0;
}
