/* A web server as one would write it for Linux: BSD sockets, poll, signals. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 3000, CLIENTS = 64, REQUEST = 8192 };

struct client {
	size_t length;
	char request[REQUEST];
};

static volatile sig_atomic_t ended;
static struct pollfd fds[1 + CLIENTS];
static struct client clients[1 + CLIENTS];
static unsigned visits;

static void end(int signo)
{
	ended = signo;
}

static void give_up(const char *what)
{
	perror(what);
	exit(1);
}

static int listening_socket(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_ANY),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0)
		give_up("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
		give_up("bind");
	if (listen(fd, SOMAXCONN) < 0)
		give_up("listen");
	return fd;
}

/* Copy the text's first word, cut off where there is no more room; what follows it. */
static const char *take_word(const char *text, char *word, size_t room)
{
	size_t length = strcspn(text, " \r\n");
	snprintf(word, room, "%.*s", (int)length, text);
	text += length;
	return text + (*text == ' ');
}

static void answer(int fd, const char *request)
{
	char method[16] = "", path[1024] = "", body[2048], head[512];
	char when[64];
	time_t now = time(NULL);
	int found, length;
	take_word(take_word(request, method, sizeof method), path, sizeof path);
	found = !strcmp(path, "/");
	if (found)
		length = snprintf(body, sizeof body, "Hello from C, visit %u\n", ++visits);
	else
		length = snprintf(body, sizeof body, "There is no %s here\n", path);
	strftime(when, sizeof when, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
	int head_length = snprintf(head, sizeof head,
		"HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
		"Connection: close\r\n\r\n", found ? "200 OK" : "404 Not Found", when, length);
	send(fd, head, head_length, MSG_NOSIGNAL);
	if (strcmp(method, "HEAD"))
		send(fd, body, length, MSG_NOSIGNAL);
	printf("%s %s %d\n", method, path, found ? 200 : 404);
}

static void take_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	for (int i = 1; i <= CLIENTS; i++)
		if (fds[i].fd < 0) {
			fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
			clients[i].length = 0;
			return;
		}
	close(fd);
}

/* Read what has come; answer when the request's head is complete. */
static void serve(int i)
{
	struct client *client = &clients[i];
	ssize_t got = recv(fds[i].fd, client->request + client->length, REQUEST - 1 - client->length, 0);
	if (got < 0 && errno == EINTR)
		return;
	if (got > 0) {
		client->length += got;
		client->request[client->length] = 0;
		if (!strstr(client->request, "\r\n\r\n") && client->length < REQUEST - 1)
			return;
		answer(fds[i].fd, client->request);
	}
	close(fds[i].fd);
	fds[i].fd = -1;
}

int main(void)
{
	struct sigaction action = {.sa_handler = end};
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i <= CLIENTS; i++)
		fds[i].fd = -1;
	fds[0] = (struct pollfd){.fd = listening_socket(), .events = POLLIN};
	printf("Serving on port %d\n", PORT);
	while (!ended) {
		if (poll(fds, 1 + CLIENTS, -1) < 0 && errno != EINTR)
			give_up("poll");
		for (int i = 1; i <= CLIENTS; i++)
			if (fds[i].fd >= 0 && fds[i].revents)
				serve(i);
		if (fds[0].revents)
			take_client(fds[0].fd);
	}
	printf("Ended by signal %d after %u visits\n", (int)ended, visits);
	return 0;
}
