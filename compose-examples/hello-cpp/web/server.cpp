// A web server as one would write it for Linux: C++17, the standard library, exceptions, BSD sockets.

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

volatile std::sig_atomic_t ended;

int checked(int result, const char *what)
{
	if (result < 0)
		throw std::system_error(errno, std::generic_category(), what);
	return result;
}

// A socket that closes itself.
class Socket {
public:
	explicit Socket(int fd) : fd_(fd) {}
	Socket(Socket &&other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
	Socket(const Socket &) = delete;
	~Socket()
	{
		if (fd_ >= 0)
			::close(fd_);
	}
	int fd() const { return fd_; }

private:
	int fd_;
};

struct Request {
	std::string method, path;
	std::map<std::string, std::string> query;
};

struct HttpError : std::runtime_error {
	int status;
	HttpError(int status, const std::string &what) : std::runtime_error(what), status(status) {}
};

Request parsed(std::string_view text)
{
	auto word = [&text] {
		auto end = text.find_first_of(" \r");
		auto found = std::string(text.substr(0, end));
		text.remove_prefix(end == text.npos ? text.size() : end + 1);
		return found;
	};
	Request request{word(), word(), {}};
	if (request.method.empty() || request.path.empty() || request.path[0] != '/')
		throw HttpError(400, "This is no request");
	auto mark = request.path.find('?');
	if (mark == request.path.npos)
		return request;
	std::string_view rest = request.path;
	rest.remove_prefix(mark + 1);
	while (!rest.empty()) {
		auto pair = rest.substr(0, rest.find('&'));
		auto equals = pair.find('=');
		auto value = equals == pair.npos ? std::string() : std::string(pair.substr(equals + 1));
		request.query[std::string(pair.substr(0, equals))] = value;
		rest.remove_prefix(pair.size() + (pair.size() < rest.size()));
	}
	request.path.resize(mark);
	return request;
}

using Handler = std::function<std::string(const Request &)>;

std::map<std::string, Handler> routes()
{
	auto visits = 0u;
	return {
		{"/", [visits](const Request &) mutable {
			return "Hello from C++, visit " + std::to_string(++visits) + "\n";
		}},
		{"/double", [](const Request &request) {
			auto found = request.query.find("of");
			if (found == request.query.end())
				throw HttpError(400, "of is missing");
			return std::to_string(2 * std::stoi(found->second)) + "\n";
		}},
	};
}

std::string read_head(const Socket &client)
{
	std::string head;
	char buffer[2048];
	while (head.find("\r\n\r\n") == head.npos && head.size() < 8192) {
		auto got = checked(::recv(client.fd(), buffer, sizeof buffer, 0), "recv");
		if (!got)
			break;
		head.append(buffer, got);
	}
	return head;
}

void serve(const Socket &client, const std::map<std::string, Handler> &handlers)
{
	int status = 200;
	std::string body, path = "-";
	try {
		auto request = parsed(read_head(client));
		path = request.path;
		auto handler = handlers.find(path);
		if (handler == handlers.end())
			throw HttpError(404, "There is no " + path + " here");
		body = handler->second(request);
	} catch (const HttpError &error) {
		status = error.status;
		body = error.what() + std::string("\n");
	} catch (const std::logic_error &error) {  // std::stoi: no number, or too large
		status = 400;
		body = error.what() + std::string("\n");
	}
	auto answer = "HTTP/1.1 " + std::to_string(status) + (status == 200 ? " OK" : " Error") +
		"\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
		"\r\nConnection: close\r\n\r\n" + body;
	checked(::send(client.fd(), answer.data(), answer.size(), MSG_NOSIGNAL), "send");
	std::printf("%s %d\n", path.c_str(), status);
}

Socket listening_on(unsigned short port)
{
	Socket socket(checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
	sockaddr_in address{};
	address.sin_family = AF_INET;
	address.sin_port = htons(port);
	auto *any = reinterpret_cast<sockaddr *>(&address);
	checked(::bind(socket.fd(), any, sizeof address), "bind");
	checked(::listen(socket.fd(), SOMAXCONN), "listen");
	return socket;
}

}

int main()
{
	struct sigaction action{};
	action.sa_handler = [](int signo) { ended = signo; };
	sigaction(SIGTERM, &action, nullptr);
	sigaction(SIGINT, &action, nullptr);
	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	try {
		auto handlers = routes();
		auto listener = listening_on(3000);
		std::puts("Serving on port 3000");
		while (!ended) {
			int fd = ::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
			if (fd < 0 && errno == EINTR)
				continue;
			Socket client(checked(fd, "accept"));
			try {
				serve(client, handlers);
			} catch (const std::system_error &error) {
				std::printf("lost a client: %s\n", error.what());
			}
		}
	} catch (const std::exception &error) {
		std::fprintf(stderr, "server: %s\n", error.what());
		return 1;
	}
	std::puts("Ended by a signal");
	return 0;
}
