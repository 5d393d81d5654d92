/* A request server with stock poll, accept, recv and send: it answers each request, a line of any length
 * up to 4 KiB that ends with a newline, with the same line. Connections are kept alive.
 *
 * The same source is compiled natively and for wasm; only the way to a listening socket differs. The first
 * argument is the port, the second, if any, the number of a listening socket that is there already.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifndef __wasi__
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#endif

enum { CONNECTIONS = 256, LINE = 4096 };

struct connection {
    size_t length;
    char line[LINE];
};

static struct pollfd fds[CONNECTIONS + 1];
static struct connection *connections[CONNECTIONS + 1];
static nfds_t count;

static int new_listener(const char *port)
{
#ifdef __wasi__
    char path[64];
    snprintf(path, sizeof path, "/net/tcp/listen/*!%s", port);
    return open(path, O_RDWR);
#else
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 128))
        return -1;
    return fd;
#endif
}

static void add(int fd)
{
    if (count > CONNECTIONS) {
        close(fd);
        return;
    }
#ifndef __wasi__
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#endif
    fds[count] = (struct pollfd){.fd = fd, .events = POLLIN};
    connections[count] = calloc(1, sizeof **connections);
    count++;
}

static void drop(nfds_t index)
{
    close(fds[index].fd);
    free(connections[index]);
    count--;
    fds[index] = fds[count];
    connections[index] = connections[count];
}

/* Read once, answer if the line is whole; 0 when the connection is over. */
static int serve(nfds_t index)
{
    struct connection *c = connections[index];
    ssize_t got = recv(fds[index].fd, c->line + c->length, LINE - c->length, 0);
    if (got <= 0)
        return 0;
    c->length += (size_t)got;
    if (c->line[c->length - 1] != '\n')
        return c->length < LINE;
    for (size_t sent = 0; sent < c->length;) {
        ssize_t n = send(fds[index].fd, c->line + sent, c->length - sent, 0);
        if (n <= 0)
            return 0;
        sent += (size_t)n;
    }
    c->length = 0;
    return 1;
}

int main(int argc, char **argv)
{
    int listener = argc > 2 ? atoi(argv[2]) : new_listener(argv[1]);
    if (argc < 2 || listener < 0) {
        perror("listen");
        return 1;
    }
    add(listener);
    puts("ready");
    fflush(stdout);
    for (;;) {
        if (poll(fds, count, -1) < 0 && errno != EINTR) {
            perror("poll");
            return 1;
        }
        for (nfds_t i = count; i-- > 1;)
            if (fds[i].revents && !serve(i))
                drop(i);
        if (fds[0].revents) {
            int fd = accept(fds[0].fd, NULL, NULL);
            if (fd >= 0)
                add(fd);
        }
    }
}
