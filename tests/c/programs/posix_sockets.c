/* Sockets through the POSIX door. */
#include <door.h>

static uint16_t swapped(uint16_t value) { return value << 8 | value >> 8; }

static int listener(struct door_inet *address) {
    int fd = sys_socket(AF_INET, SOCK_STREAM, 0), one = 1;
    uint32_t length = sizeof *address;
    *address = (struct door_inet){AF_INET, 0, {127, 0, 0, 1}, ""};
    SAME(sys_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, 4), 0);
    SAME(sys_bind(fd, address, sizeof *address), 0);
    SAME(sys_listen(fd, 5), 0);
    SAME(sys_getsockname(fd, address, &length), 0);
    SAME(length, 16);
    CHECK(address->port != 0);
    return fd;
}

static void echo_server(void) {
    struct door_inet address, peer;
    uint32_t length = sizeof peer;
    int fd = listener(&address);
    char port[8], buffer[100];
    snprintf(port, sizeof port, "%d", swapped(address.port));
    int pid = vfork();
    if (pid == 0) {
        execve("/test.wasm", (char *[]){"test", "client", port, NULL}, environ);
        _exit(127);
    }
    int connection = sys_accept4(fd, &peer, &length, SOCK_CLOEXEC);
    CHECK(connection > 0);
    SAME(length, 16);
    SAME(peer.host[0], 127);
    SAME(sys_fcntl(connection, F_GETFD, 0), 1);
    long total = 0;
    int count;
    while ((count = sys_read(connection, buffer, sizeof buffer)) > 0) {
        total += count;
        SAME(sys_write(connection, buffer, count), count);
    }
    SAME(total, 100000);
    sys_close(connection);
    int status;
    SAME(waitpid(pid, &status, 0), pid);
    SAME(status, 0);
}

static int client(int port) {
    struct door_inet address = {AF_INET, swapped(port), {127, 0, 0, 1}, ""};
    char buffer[1000] = "", back[1000];
    int fd = sys_socket(AF_INET, SOCK_STREAM, 0);
    SAME(sys_connect(fd, &address, sizeof address), 0);
    for (int i = 0; i < 100; i++) {
        int got = 0;
        memset(buffer, i, sizeof buffer);
        SAME(sys_write(fd, buffer, 1000), 1000);
        while (got < 1000) {
            int count = sys_read(fd, back + got, 1000 - got);
            CHECK(count > 0);
            got += count;
        }
        CHECK(memcmp(buffer, back, 1000) == 0);
    }
    SAME(sys_shutdown(fd, SHUT_WR), 0);
    SAME(sys_read(fd, back, 1), 0);
    return 0;
}

static void kinds(void) {
    SAME(sys_socket(AF_INET, 99, 0), -EINVAL);
    SAME(sys_socket(AF_INET, 3, 0), -91);
    SAME(sys_socket(77, SOCK_STREAM, 0), -EAFNOSUPPORT);
    SAME(sys_socket(AF_INET, SOCK_STREAM, 17), -93);
    SAME(sys_listen(0, 1), -ENOTSOCK);
    SAME(sys_listen(77, 1), -EBADF);
    int fd = sys_socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 17), value = 0;
    uint32_t length = 4;
    SAME(sys_fcntl(fd, F_GETFL, 0) & O_NONBLOCK, O_NONBLOCK);
    SAME(sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length), 0);
    SAME(value, SOCK_DGRAM);
    SAME(length, 4);
    SAME(sys_getsockopt(fd, SOL_SOCKET, 39, &value, &length), 0);
    SAME(value, AF_INET);
    SAME(sys_getsockopt(fd, SOL_SOCKET, 30, &value, &length), 0);
    SAME(value, 0);
    SAME(sys_getsockopt(fd, 6, 1000, &value, &length), -92);
    struct door_stat stat;
    SAME(sys_fstat(fd, &stat), 0);
    SAME(stat.mode & 0170000, 0140000);
    long long seconds[2] = {2, 500000}, back[2] = {0};
    length = 16;
    SAME(sys_setsockopt(fd, SOL_SOCKET, 66, seconds, 16), 0);
    SAME(sys_getsockopt(fd, SOL_SOCKET, 66, back, &length), 0);
    CHECK(memcmp(seconds, back, 16) == 0);
    SAME(sys_setsockopt(fd, SOL_SOCKET, 66, seconds, 4), -EINVAL);
}

static void refused_and_taken(void) {
    struct door_inet address;
    int fd = listener(&address);
    int other = sys_socket(AF_INET, SOCK_STREAM, 0);
    SAME(sys_bind(other, &address, sizeof address), -EADDRINUSE);
    sys_close(fd);
    SAME(sys_connect(other, &address, sizeof address), -ECONNREFUSED);
    SAME(sys_connect(other, &address, 3), -EINVAL);
    struct door_inet outside = {AF_INET, swapped(80), {192, 0, 2, 1}, ""};
    SAME(sys_connect(other, &outside, sizeof outside), -EACCES);
    uint32_t length = 16;
    SAME(sys_getpeername(other, &address, &length), -ENOTCONN);
}

static void datagrams(void) {
    struct door_inet address = {AF_INET, 0, {127, 0, 0, 1}, ""}, from = {0};
    uint32_t length = sizeof address;
    int server = sys_socket(AF_INET, SOCK_DGRAM, 0), fd = sys_socket(AF_INET, SOCK_DGRAM, 0);
    char buffer[16] = "";
    SAME(sys_bind(server, &address, sizeof address), 0);
    SAME(sys_getsockname(server, &address, &length), 0);
    SAME(sys_sendto(fd, "hello", 5, 0, &address, sizeof address), 5);
    SAME(sys_recvfrom(server, buffer, 3, MSG_PEEK | 0x20, &from, &length), 5);
    SAME(sys_recvfrom(server, buffer, sizeof buffer, 0, &from, &length), 5);
    SAME(from.family, AF_INET);
    SAME(sys_sendto(server, "back", 4, 0, &from, sizeof from), 4);
    SAME(sys_connect(fd, &address, sizeof address), 0);
    SAME(sys_recvfrom(fd, buffer, sizeof buffer, 0, NULL, NULL), 4);
    SAME(sys_recvfrom(fd, buffer, sizeof buffer, MSG_DONTWAIT, NULL, NULL), -EAGAIN);
    SAME(sys_write(fd, "again", 5), 5);
    SAME(sys_read(server, buffer, sizeof buffer), 5);
}

static void unix_names(void) {
    struct door_unix name = {AF_UNIX, "here.sock"}, other = {0};
    uint32_t length = sizeof other;
    int server = sys_socket(AF_UNIX, SOCK_STREAM, 0), fd = sys_socket(AF_UNIX, SOCK_STREAM, 0);
    SAME(sys_bind(server, &name, sizeof name), 0);
    SAME(sys_listen(server, 1), 0);
    SAME(sys_getsockname(server, &other, &length), 0);
    CHECK(strcmp(other.path, "/here.sock") == 0);
    SAME(length, 2 + 11);
    struct door_stat stat;
    SAME(sys_fstatat(AT_FDCWD, PATH("/here.sock"), 0, &stat), 0);
    SAME(stat.mode & 0170000, 0140000);
    SAME(sys_connect(fd, &name, sizeof name), 0);
    int connection = sys_accept4(server, NULL, NULL, 0);
    char byte = 0;
    SAME(sys_write(fd, "z", 1), 1);
    SAME(sys_read(connection, &byte, 1), 1);
    SAME(byte, 'z');
    uint32_t credentials[3] = {0};
    length = 12;
    SAME(sys_getsockopt(connection, SOL_SOCKET, 17, credentials, &length), 0);
    SAME(credentials[0], sys_getpid());
}

static void passing_files(void) {
    int pair[2], ends[2];
    SAME(sys_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    SAME(sys_socketpair(AF_INET, SOCK_STREAM, 0, ends), -EOPNOTSUPP);
    SAME(sys_socketpair(77, SOCK_STREAM, 0, ends), -EAFNOSUPPORT);
    SAME(sys_pipe2(0, ends), 0);
    struct { uint32_t length, level, type; int fd; } control = {16, SOL_SOCKET, SCM_RIGHTS, ends[1]};
    char text[8] = "fd";
    struct door_iovec vector = {text, 2};
    struct door_message message = {NULL, 0, &vector, 1, &control, 16, 0};
    SAME(sys_sendmsg(pair[0], &message, 0), 2);
    sys_close(ends[1]);
    control.fd = -1;
    SAME(sys_recvmsg(pair[1], &message, 0x40000000), 2);
    SAME(message.control_length, 16);
    SAME(message.flags, 0);
    CHECK(control.fd > 0);
    SAME(sys_fcntl(control.fd, F_GETFD, 0), 1);
    SAME(sys_write(control.fd, "p", 1), 1);
    SAME(sys_read(ends[0], text, 1), 1);
    message.control_length = 16, control.fd = 99;
    SAME(sys_sendmsg(pair[0], &message, 0), -EBADF);
    control.fd = ends[0], control.length = 999;
    SAME(sys_sendmsg(pair[0], &message, 0), -EINVAL);
    /* No room for it: it is closed, and that is told. */
    control.length = 16;
    SAME(sys_sendmsg(pair[0], &message, 0), 2);
    message.control_length = 0;
    SAME(sys_recvmsg(pair[1], &message, 0), 2);
    SAME(message.flags, 8);
}

static volatile int pipes;
static void on_pipe(int signo) { pipes++; }

static void broken(void) {
    int pair[2];
    SAME(sys_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    sys_close(pair[1]);
    SAME(sigaction(SIGPIPE, on_pipe, SA_RESTART, 0), 0);
    SAME(sys_sendto(pair[0], "x", 1, MSG_NOSIGNAL, NULL, 0), -EPIPE);
    SAME(pipes, 0);
    SAME(sys_sendto(pair[0], "x", 1, 0, NULL, 0), -EPIPE);
    SAME(pipes, 1);
    SAME(sys_write(pair[0], "x", 1), -EPIPE);
    SAME(pipes, 2);
    SAME(sys_sendto(pair[0], "x", 1, 1, NULL, 0), -EOPNOTSUPP); /* MSG_OOB */
}

static void names(void) {
    struct { uint32_t family; uint8_t address[16]; } found[4];
    SAME(sys_lookup_name(PATH("localhost"), AF_INET, found, 4), 1);
    SAME(found[0].family, AF_INET);
    SAME(found[0].address[0], 127);
    SAME(sys_lookup_name(PATH("::1"), 0, found, 4), 1);
    SAME(found[0].family, AF_INET6);
    SAME(found[0].address[15], 1);
    SAME(sys_lookup_name(PATH("nowhere"), AF_INET, found, 4), -ENOENT);
    SAME(sys_lookup_name(PATH("a\xff"), AF_INET, found, 4), -ENOENT);
    struct door_inet address = {AF_INET, 0, {127, 0, 0, 1}, ""};
    char name[64];
    SAME(sys_lookup_address(&address, sizeof address, name, sizeof name), 10);
    CHECK(strcmp(name, "localhost") == 0);
}

static void accept_is_interrupted(void) {
    struct door_inet address;
    int fd = listener(&address);
    sigaction(SIGALRM, on_pipe, 0, 0);
    alarm_ms(20, 20);
    SAME(sys_accept4(fd, NULL, NULL, 0), -EINTR);
    CHECK(pipes > 0);
}

static const struct door_test tests[] = {
    {"echo_server", echo_server},
    {"kinds", kinds},
    {"refused_and_taken", refused_and_taken},
    {"datagrams", datagrams},
    {"unix_names", unix_names},
    {"passing_files", passing_files},
    {"broken", broken},
    {"names", names},
    {"accept_is_interrupted", accept_is_interrupted},
    {0},
};

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "client") == 0) return client(atoi(argv[2]));
    return door_main(tests, argc, argv);
}
