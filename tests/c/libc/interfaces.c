/* Network interfaces: there is always a loopback. */
#include "say.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

int main(void) {
    char name[IF_NAMESIZE];
    SAY(if_nametoindex("lo"));
    TEXT(if_indextoname(1, name));
    SAY(if_nametoindex("none0"));
    HOLDS(if_indextoname(9999, name) == NULL);
    struct ifaddrs *all;
    SAY(getifaddrs(&all));
    for (struct ifaddrs *p = all; p; p = p->ifa_next) {
        if (strcmp(p->ifa_name, "lo") || !p->ifa_addr || p->ifa_addr->sa_family != AF_INET)
            continue;
        TEXT(inet_ntoa(((struct sockaddr_in *)p->ifa_addr)->sin_addr));
        TEXT(inet_ntoa(((struct sockaddr_in *)p->ifa_netmask)->sin_addr));
        HOLDS(p->ifa_flags & IFF_LOOPBACK);
        HOLDS(p->ifa_flags & IFF_UP);
    }
    freeifaddrs(all);
    struct if_nameindex *names = if_nameindex();
    int found = 0;
    for (struct if_nameindex *p = names; p && p->if_index; p++) found += !strcmp(p->if_name, "lo");
    SAY(found);
    if_freenameindex(names);
    return 0;
}
