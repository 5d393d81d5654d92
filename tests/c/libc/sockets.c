/* TCP, UDP and Unix sockets within one program. */
#include "say.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int port_of(int fd) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    MUST(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.sin_port);
}

static void streams(void) {
    struct sockaddr_in address = loopback(0);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    MUST(server >= 0);
    int on = 1, value = 0;
    socklen_t length = sizeof value;
    SAY(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    SAY(getsockopt(server, SOL_SOCKET, SO_REUSEADDR, &value, &length));
    SAY(value);
    SAY(getsockopt(server, SOL_SOCKET, SO_TYPE, &value, &length));
    SAY(value == SOCK_STREAM);
    SAY(accept(server, NULL, NULL));
    SAY(bind(server, (struct sockaddr *)&address, sizeof address));
    SAY(bind(server, (struct sockaddr *)&address, sizeof address));
    SAY(listen(server, 5));
    SAY(getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &value, &length));
    SAY(value);
    int port = port_of(server);
    HOLDS(port > 0);
    fcntl(server, F_SETFL, O_NONBLOCK);
    SAY(accept(server, NULL, NULL));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SAY(fcntl(client, F_GETFD));
    address = loopback(port);
    SAY(getpeername(client, (struct sockaddr *)&address, &(socklen_t){sizeof address}));
    SAY(connect(client, (struct sockaddr *)&address, sizeof address));
    SAY(connect(client, (struct sockaddr *)&address, sizeof address));
    struct pollfd pollfd = {.fd = server, .events = POLLIN};
    SAY(poll(&pollfd, 1, 5000));
    struct sockaddr_in peer;
    length = sizeof peer;
    int served = accept4(server, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK);
    SAY(served >= 0);
    SAY(length);
    SAY(peer.sin_family);
    TEXT(inet_ntoa(peer.sin_addr));
    SAY(ntohs(peer.sin_port) == port_of(client));
    length = sizeof peer;
    SAY(getpeername(client, (struct sockaddr *)&peer, &length));
    SAY(ntohs(peer.sin_port) == port);
    SAY(fcntl(served, F_GETFL) == (O_RDWR | O_NONBLOCK));
    char data[32] = "";
    SAY(recv(served, data, sizeof data, 0));
    SAY(send(client, "hello server", 12, 0));
    pollfd = (struct pollfd){.fd = served, .events = POLLIN | POLLOUT};
    SAY(poll(&pollfd, 1, 5000));
    SAY(recv(served, data, 5, MSG_PEEK));
    TEXT(data);
    SAY(ioctl(served, FIONREAD, &value));
    SAY(value);
    SAY(read(served, data, sizeof data));
    TEXT(data);
    SAY(write(served, "hello client", 12));
    SAY(recv(client, data, 12, MSG_WAITALL));
    TEXT(data);
    SAY(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    length = sizeof value;
    SAY(getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &value, &length));
    SAY(value != 0);
    struct timeval limit = {.tv_usec = 20000};
    SAY(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SAY(recv(client, data, 1, 0));
    struct timeval found;
    length = sizeof found;
    SAY(getsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &found, &length));
    SAY(found.tv_usec);
    struct linger linger = {1, 5};
    SAY(setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    SAY(setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
    SAY(setsockopt(client, 999, 1, &on, sizeof on) < 0);
    SAY(shutdown(client, SHUT_WR));
    pollfd = (struct pollfd){.fd = served, .events = POLLIN};
    SAY(poll(&pollfd, 1, 5000));
    SAY(read(served, data, sizeof data));
    SAY(send(client, "x", 1, MSG_NOSIGNAL));
    SAY(close(served));
    SAY(read(client, data, sizeof data));
    SAY(close(client));
    SAY(close(server));
    client = socket(AF_INET, SOCK_STREAM, 0);
    SAY(connect(client, (struct sockaddr *)&address, sizeof address));
    close(client);
    SAY(socket(AF_INET, 77, 0));
    SAY(socket(1000, SOCK_STREAM, 0));
    SAY(bind(0, (struct sockaddr *)&address, sizeof address));
    SAY(send(99, "", 0, 0));
}

/* connect without blocking, as programs with an event loop do. */
static void nonblocking(void) {
    struct sockaddr_in address = loopback(0);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    bind(server, (struct sockaddr *)&address, sizeof address);
    listen(server, 1);
    address = loopback(port_of(server));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int result = connect(client, (struct sockaddr *)&address, sizeof address);
    HOLDS(result == 0 || errno == EINPROGRESS);
    struct pollfd pollfd = {.fd = client, .events = POLLOUT};
    SAY(poll(&pollfd, 1, 5000));
    int error = -1;
    socklen_t length = sizeof error;
    SAY(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length));
    SAY(error);
    int served = accept(server, NULL, NULL);
    SAY(served >= 0);
    static char block[65536];
    memset(block, 'b', sizeof block);
    long sent = 0;
    for (ssize_t n; (n = send(client, block, sizeof block, 0)) > 0;) sent += n;
    HOLDS(errno == EAGAIN && sent > 0);
    long received = 0;
    while (received < sent) {
        ssize_t n = recv(served, block, sizeof block, 0);
        if (n <= 0) break;
        received += n;
    }
    HOLDS(received == sent);
    close(client);
    SAY(recv(served, block, 1, 0));
    close(served);
    close(server);
}

static void datagrams(void) {
    int one = socket(AF_INET, SOCK_DGRAM, 0), two = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = loopback(0), peer;
    socklen_t length = sizeof peer;
    SAY(bind(one, (struct sockaddr *)&address, sizeof address));
    address = loopback(port_of(one));
    SAY(sendto(two, "datagram", 8, 0, (struct sockaddr *)&address, sizeof address));
    char data[32] = "";
    SAY(recvfrom(one, data, sizeof data, 0, (struct sockaddr *)&peer, &length));
    TEXT(data);
    SAY(ntohs(peer.sin_port) == port_of(two));
    SAY(sendto(one, "back", 4, 0, (struct sockaddr *)&peer, length));
    SAY(connect(two, (struct sockaddr *)&address, sizeof address));
    SAY(recv(two, data, 2, MSG_TRUNC));
    SAY(send(two, "", 0, 0));
    SAY(recv(one, data, sizeof data, 0));
    SAY(recv(one, data, sizeof data, MSG_DONTWAIT));
    SAY(send(two, "by message", 10, 0));
    struct iovec parts[2] = {{data, 3}, {data + 10, 20}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    SAY(recvmsg(one, &message, 0));
    printf("%.3s %.7s\n", data, data + 10);
    SAY(send(one, "x", 1, 0));
    close(one);
    close(two);
}

static void unix_sockets(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(bind(server, (struct sockaddr *)&address, sizeof address));
    SAY(listen(server, 1));
    int again = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(bind(again, (struct sockaddr *)&address, sizeof address));
    SAY(connect(again, (struct sockaddr *)&address, sizeof address));
    int served = accept(server, NULL, NULL);
    SAY(write(again, "local", 5));
    char data[16] = "";
    SAY(read(served, data, sizeof data));
    TEXT(data);
    struct ucred who;
    socklen_t length = sizeof who;
    SAY(getsockopt(served, SOL_SOCKET, SO_PEERCRED, &who, &length));
    SAY(who.pid == getpid() && who.uid == getuid());
    struct sockaddr_un name;
    length = sizeof name;
    memset(&name, 0, sizeof name);
    SAY(getsockname(server, (struct sockaddr *)&name, &length));
    TEXT(strrchr(name.sun_path, '/') ? strrchr(name.sun_path, '/') + 1 : name.sun_path);
    close(again);
    SAY(read(served, data, sizeof data));
    close(served);
    close(server);
    again = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(connect(again, (struct sockaddr *)&address, sizeof address));
    SAY(unlink("socket"));
    SAY(connect(again, (struct sockaddr *)&address, sizeof address));
    close(again);
    memcpy(address.sun_path, "\0abstract", 9);
    length = offsetof(struct sockaddr_un, sun_path) + 9;
    server = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    SAY(bind(server, (struct sockaddr *)&address, length));
    SAY(listen(server, 1));
    again = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    SAY(connect(again, (struct sockaddr *)&address, length));
    close(again);
    close(server);
}

static void pairs(void) {
    int ends[2];
    char data[16] = "";
    SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    SAY(write(ends[0], "pair", 4));
    SAY(read(ends[1], data, sizeof data));
    TEXT(data);
    SAY(shutdown(ends[0], SHUT_RDWR));
    SAY(read(ends[1], data, sizeof data));
    signal(SIGPIPE, SIG_IGN);
    SAY(write(ends[1], "x", 1));
    close(ends[0]);
    close(ends[1]);
    SAY(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
    SAY(send(ends[0], "one", 3, 0));
    SAY(send(ends[0], "three", 5, 0));
    SAY(recv(ends[1], data, sizeof data, 0));
    SAY(recv(ends[1], data, sizeof data, 0));
    close(ends[0]);
    close(ends[1]);
    SAY(socketpair(AF_INET, SOCK_STREAM, 0, ends));

    /* An open file goes through. */
    int file = open("passed", O_RDWR | O_CREAT, 0600);
    write(file, "contents", 8);
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control = {0};
    struct iovec part = {"f", 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &file, sizeof file);
    SAY(sendmsg(ends[0], &message, 0));
    close(file);
    char byte;
    part = (struct iovec){&byte, 1};
    memset(&control, 0, sizeof control);
    message.msg_controllen = sizeof control.room;
    SAY(recvmsg(ends[1], &message, 0));
    header = CMSG_FIRSTHDR(&message);
    HOLDS(header && header->cmsg_type == SCM_RIGHTS);
    int received = -1;
    memcpy(&received, CMSG_DATA(header), sizeof received);
    memset(data, 0, sizeof data);
    SAY(pread(received, data, 8, 0));
    TEXT(data);
    HOLDS(CMSG_NXTHDR(&message, header) == NULL);
}

int main(void) {
    streams();
    nonblocking();
    datagrams();
    unix_sockets();
    pairs();
    return 0;
}
