/* Requests per second of the echo server: load PORT CONNECTIONS SECONDS LENGTH.
 *
 * Each connection has one request under way, a line of LENGTH bytes; the next follows its answer. One thread, epoll.
 * Prints the number of answers and the seconds they took; a wrong answer ends it with status 1.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int fine, const char *what)
{
    if (!fine) {
        perror(what);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    must(argc == 5, "usage: load PORT CONNECTIONS SECONDS LENGTH");
    int number = atoi(argv[2]);
    size_t length = (size_t)atol(argv[4]);
    char request[4096], answer[4096];
    size_t got[256] = {0};
    int fds[256];
    must(number > 0 && number <= 256 && length > 0 && length <= sizeof request, "arguments");
    memset(request, 'x', length);
    request[length - 1] = '\n';
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int poller = epoll_create1(0);
    for (int i = 0; i < number; i++) {
        int one = 1;
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(fds[i], (struct sockaddr *)&address, sizeof address) == 0, "connect");
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)i};
        must(epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &event) == 0, "epoll_ctl");
    }
    for (int i = 0; i < number; i++)
        must(send(fds[i], request, length, 0) == (ssize_t)length, "send");
    long answers = 0;
    double begin = now(), end = begin + atof(argv[3]), last = begin;
    while ((last = now()) < end) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, 1000);
        must(ready > 0, "no answer for a second");
        for (int e = 0; e < ready; e++) {
            unsigned i = events[e].data.u32;
            ssize_t n = recv(fds[i], answer + got[i], length - got[i], 0);
            must(n > 0, "recv");
            must(memcmp(answer + got[i], request + got[i], (size_t)n) == 0, "a wrong answer");
            got[i] += (size_t)n;
            if (got[i] < length)
                continue;
            got[i] = 0;
            answers++;
            must(send(fds[i], request, length, 0) == (ssize_t)length, "send");
        }
    }
    printf("%ld %.6f\n", answers, last - begin);
    return 0;
}
