/* An ordinary server that serves many clients with poll, and its clients: this program again. */
#include "say.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 6 };

static int client(const char *port, const char *word) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET}, *found;
    if (getaddrinfo("localhost", port, &hints, &found) != 0) return 2;
    int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) return 3;
    freeaddrinfo(found);
    char line[64], back[64];
    for (int i = 0; i < 20; i++) {
        int length = snprintf(line, sizeof line, "%s %d\n", word, i), got = 0;
        if (write(fd, line, length) != length) return 4;
        while (got < length) {
            int n = read(fd, back + got, length - got);
            if (n <= 0) return 5;
            got += n;
        }
        if (memcmp(line, back, length)) return 6;
    }
    close(fd);
    return 0;
}

static void serve(int listener, int clients) {
    struct pollfd fds[1 + CLIENTS] = {{.fd = listener, .events = POLLIN}};
    int count = 1, ended = 0;
    char data[256];
    while (ended < clients) {
        if (poll(fds, count, 20000) <= 0) {
            puts("nobody came");
            exit(1);
        }
        for (int i = count - 1; i > 0; i--) {
            if (!fds[i].revents) continue;
            ssize_t length = read(fds[i].fd, data, sizeof data);
            if (length > 0) {
                MUST(write(fds[i].fd, data, length) == length);
                continue;
            }
            close(fds[i].fd);
            fds[i] = fds[--count];
            ended++;
        }
        if (fds[0].revents) {
            fds[count] = (struct pollfd){.fd = accept(listener, NULL, NULL), .events = POLLIN};
            MUST(fds[count].fd >= 0);
            count++;
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 2) return client(argv[1], argv[2]);
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_family = AF_INET, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    SAY(getaddrinfo(NULL, "0", &hints, &found));
    int listener = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    SAY(bind(listener, found->ai_addr, found->ai_addrlen));
    freeaddrinfo(found);
    SAY(listen(listener, 10));
    struct sockaddr_in address;
    getsockname(listener, (struct sockaddr *)&address, &(socklen_t){sizeof address});
    char port[8];
    sprintf(port, "%d", ntohs(address.sin_port));
    pid_t pids[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        char word[8];
        sprintf(word, "w%d", i);
        char *words[] = {"program", port, word, NULL};
        MUST(posix_spawn(&pids[i], "./program", NULL, NULL, words, environ) == 0);
    }
    serve(listener, CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        int status;
        SAY(waitpid(pids[i], &status, 0) == pids[i]);
        SAY(status);
    }
    return 0;
}
