/* WasmEdge's socket functions, imported by hand as its own packages import them. FORM 1: as before
 * WasmEdge 0.12; FORM 2: the later types under the same names. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) \
    uint32_t name
#define CHECK(what) ((what) ? (void)0 : fail(#what, __LINE__))

struct address { void *buf; uint32_t size; };
struct vector { void *buf; uint32_t size; };
struct sockaddr_record { uint8_t family; uint32_t size; void *data; };
struct addrinfo_record {
    uint16_t flags; uint8_t family, kind, protocol; uint32_t length;
    struct sockaddr_record *address; char *name; uint32_t name_length;
    struct addrinfo_record *next;
};

IMPORT(sock_open)(uint32_t, uint32_t, uint32_t *);
IMPORT(sock_bind)(uint32_t, struct address *, uint32_t);
IMPORT(sock_listen)(uint32_t, uint32_t);
IMPORT(sock_connect)(uint32_t, struct address *, uint32_t);
IMPORT(sock_recv)(uint32_t, struct vector *, uint32_t, uint32_t, uint32_t *, uint32_t *);
IMPORT(sock_send)(uint32_t, struct vector *, uint32_t, uint32_t, uint32_t *);
IMPORT(sock_send_to)(uint32_t, struct vector *, uint32_t, struct address *, uint32_t, uint32_t,
                     uint32_t *);
IMPORT(sock_getsockopt)(uint32_t, uint32_t, uint32_t, void *, uint32_t *);
IMPORT(sock_setsockopt)(uint32_t, uint32_t, uint32_t, const void *, uint32_t);
IMPORT(sock_getaddrinfo)(const char *, uint32_t, const char *, uint32_t, struct addrinfo_record *,
                         struct addrinfo_record **, uint32_t, uint32_t *);
IMPORT(sock_shutdown)(uint32_t, uint32_t);
#if FORM == 1
IMPORT(sock_accept)(uint32_t, uint32_t *);
IMPORT(sock_recv_from)(uint32_t, struct vector *, uint32_t, struct address *, uint32_t, uint32_t *,
                       uint32_t *);
IMPORT(sock_getlocaladdr)(uint32_t, struct address *, uint32_t *, uint32_t *);
IMPORT(sock_getpeeraddr)(uint32_t, struct address *, uint32_t *, uint32_t *);
#else
IMPORT(sock_accept)(uint32_t, uint32_t, uint32_t *);
IMPORT(sock_recv_from)(uint32_t, struct vector *, uint32_t, struct address *, uint32_t, uint16_t *,
                       uint32_t *, uint32_t *);
IMPORT(sock_getlocaladdr)(uint32_t, struct address *, uint32_t *);
IMPORT(sock_getpeeraddr)(uint32_t, struct address *, uint32_t *);
IMPORT(sock_accept_v2)(uint32_t, uint32_t, uint32_t *);
#endif

static void fail(const char *what, int line) {
    printf("line %d: %s\n", line, what);
    exit(1);
}

static uint32_t port_of(uint32_t fd, uint8_t expected[4]) {
    uint32_t port = 0;
#if FORM == 1
    uint8_t data[16] = {0};
    struct address a = {data, 16};
    uint32_t kind = 0;
    CHECK(sock_getlocaladdr(fd, &a, &kind, &port) == 0 && kind == 4);
    CHECK(memcmp(data, expected, 4) == 0);
#else
    uint8_t data[128] = {0};
    struct address a = {data, 128};
    CHECK(sock_getlocaladdr(fd, &a, &port) == 0 && data[0] == 1 && data[1] == 0);
    CHECK(memcmp(data + 2, expected, 4) == 0);
#endif
    return port;
}

static uint32_t accept_one(uint32_t listener) {
    uint32_t fd = 0;
#if FORM == 1
    CHECK(sock_accept(listener, &fd) == 0);
#else
    CHECK(sock_accept(listener, 0, &fd) == 0);
#endif
    return fd;
}

static uint8_t loopback[4] = {127, 0, 0, 1}, any[4];

static void streams(void) {
    uint32_t listener = 0, client = 0, size = 0, flags = 0, value = 0, length = 4;
    struct address at = {any, 4}, to = {loopback, 4};
    char text[16];
    CHECK(sock_open(1, 2, &listener) == 0);
    value = 1;
    CHECK(sock_setsockopt(listener, 0, 0, &value, 4) == 0);
    CHECK(sock_bind(listener, &at, 0) == 0 && sock_listen(listener, 5) == 0);
    uint32_t port = port_of(listener, any);
    CHECK(sock_getsockopt(listener, 0, 13, &value, &length) == 0 && value == 1 && length == 4);
    CHECK(sock_open(1, 2, &client) == 0);
    CHECK(sock_connect(client, &to, port) == 0);
    uint32_t server = accept_one(listener);
#if FORM == 1
    uint8_t data[4];
    struct address peer = {data, 4};
    CHECK(sock_getpeeraddr(server, &peer, &value, &port) == 0 && memcmp(data, loopback, 4) == 0);
#else
    uint8_t data[128];
    struct address peer = {data, 128};
    CHECK(sock_getpeeraddr(server, &peer, &port) == 0 && memcmp(data + 2, loopback, 4) == 0);
    CHECK(sock_accept_v2(listener, 99, &value) == 28);
#endif
    CHECK(port == port_of(client, loopback));
    struct vector out = {"hello", 5}, in = {text, sizeof text};
    CHECK(sock_send(client, &out, 1, 0, &size) == 0 && size == 5);
    CHECK(sock_recv(server, &in, 1, 0, &size, &flags) == 0 && size == 5);
    CHECK(memcmp(text, "hello", 5) == 0 && sock_shutdown(client, 2) == 0);
    CHECK(sock_recv(server, &in, 1, 0, &size, &flags) == 0 && size == 0);
}

static void datagrams(void) {
    uint32_t server = 0, client = 0, size = 0, flags = 0, value = 0, length = 4;
    struct address at = {loopback, 4};
    char text[4];
    CHECK(sock_open(1, 1, &server) == 0 && sock_open(1, 1, &client) == 0);
    CHECK(sock_bind(server, &at, 0) == 0);
    CHECK(sock_getsockopt(server, 0, 1, &value, &length) == 0 && value == 1);
    struct vector out = {"question", 8}, in = {text, 4};
    CHECK(sock_send_to(client, &out, 1, &at, port_of(server, loopback), 0, &size) == 0 && size == 8);
    uint8_t from[128] = {0};
#if FORM == 1
    struct address sender = {from, 4};
    CHECK(sock_recv_from(server, &in, 1, &sender, 0, &size, &flags) == 0);
    CHECK(memcmp(from, loopback, 4) == 0);
#else
    uint16_t port = 0;
    struct address sender = {from, 128};
    CHECK(sock_recv_from(server, &in, 1, &sender, 0, &port, &size, &flags) == 0);
    CHECK(port == port_of(client, any) && from[0] == 1 && memcmp(from + 2, loopback, 4) == 0);
    CHECK(sock_send_to(server, &out, 1, &sender, port, 0, &size) == 0);
#endif
    CHECK(size == (FORM == 1 ? 4 : 8) && (flags & 1) == 1 && memcmp(text, "ques", 4) == 0);
}

static void timeouts(void) {
    uint32_t fd = 0, size, flags, length = 16;
    int64_t time[2] = {0, 20000};
    char text[4];
    struct address at = {loopback, 4};
    struct vector in = {text, 4};
    CHECK(sock_open(1, 1, &fd) == 0 && sock_bind(fd, &at, 0) == 0);
    CHECK(sock_setsockopt(fd, 0, 11, time, 16) == 0);
    time[1] = 0;
    CHECK(sock_getsockopt(fd, 0, 11, time, &length) == 0 && time[1] == 20000 && length == 16);
    CHECK(sock_recv(fd, &in, 1, 0, &size, &flags) == 6);
}

static void names(void) {
    uint8_t data[3][26];
    struct sockaddr_record places[3];
    struct addrinfo_record hints = {0}, list[3], *result = list;
    uint32_t count = 9;
    hints.kind = 2;
    for (int i = 0; i < 3; i++) {
        places[i] = (struct sockaddr_record){0, 26, data[i]};
        list[i] = (struct addrinfo_record){.address = &places[i], .next = i < 2 ? &list[i + 1] : 0};
    }
    CHECK(sock_getaddrinfo("localhost", 9, "http", 4, &hints, &result, 3, &count) == 0);
    CHECK(count == 2 && list[0].family == 1 && list[0].kind == 2 && list[0].protocol == 1);
    CHECK(places[0].family == 1 && places[0].size == 14 && data[0][1] == 80);
    CHECK(memcmp(data[0] + 2, loopback, 4) == 0 && list[1].family == 2 && data[1][21] == 1);
    CHECK(sock_getaddrinfo("nosuch", 6, "80", 2, &hints, &result, 3, &count) == 84);
    CHECK(sock_getaddrinfo("localhost", 9, "nosuch", 6, &hints, &result, 3, &count) == 85);
    CHECK(sock_getaddrinfo("localhost", 9, "80", 2, &hints, &result, 0, &count) == 82);
}

int main(void) {
    streams();
    datagrams();
    timeouts();
    names();
    puts("ok");
}
