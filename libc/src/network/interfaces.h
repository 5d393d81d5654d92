/* The interfaces of a container: the loopback, and one to the project's network if it is in one. */
#include <net/if.h>
#include <netinet/in.h>

enum { LOOPBACK = 1, NETWORK = 2 };
#define LOOPBACK_NAME "lo"
#define NETWORK_NAME "eth0"

/* The container's address in its network; 0 without one. */
hidden int __network_address(struct in_addr *address);
