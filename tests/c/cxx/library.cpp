// The C++ library over our C library: what its objects must agree about with it, shown as text.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <variant>
#include <vector>

namespace fs = std::filesystem;

namespace {

struct Traced {
	const char *name;
	~Traced() { std::cout << "~" << name << "\n"; }
};

int deep(int n)
{
	Traced traced{n ? "frame" : "last"};
	if (!n)
		throw std::runtime_error("deep");
	return deep(n - 1) + 1;
}

struct Base {
	virtual ~Base() = default;
	virtual std::string name() const { return "base"; }
};

struct Derived : Base {
	std::string name() const override { return "derived"; }
};

template <typename F> void caught(const char *what, F run)
{
	std::cout << what << ": ";
	try {
		run();
		std::cout << "nothing\n";
	} catch (const std::system_error &error) {
		std::cout << error.code() << " " << error.what() << "\n";
	} catch (const std::exception &error) {
		std::cout << error.what() << "\n";
	}
}

void containers()
{
	std::map<std::string, std::vector<int>> map{{"b", {3, 2, 1}}, {"a", {7}}};
	std::sort(map["b"].begin(), map["b"].end());
	for (auto &[key, values] : map) {
		std::cout << key;
		for (int value : values)
			std::cout << " " << value;
		std::cout << "\n";
	}
	std::variant<int, std::string> variant = "text";
	std::cout << std::get<std::string>(variant) << "\n";
	caught("variant", [&] { (void)std::get<int>(variant); });
	caught("at", [] { (void)std::vector<int>().at(3); });
}

void exceptions()
{
	try {
		deep(1);
	} catch (const std::exception &error) {
		std::cout << "caught " << error.what() << "\n";
	}
	try {
		try {
			throw 5;
		} catch (...) {
			throw;
		}
	} catch (int value) {
		std::cout << "again " << value << "\n";
	}
	auto kept = std::make_exception_ptr(std::logic_error("kept"));
	caught("pointer", [&] { std::rethrow_exception(kept); });
	caught("alloc", [] { volatile std::size_t all = 0xf0000000; delete[] new char[all]; });
	std::unique_ptr<Base> base = std::make_unique<Derived>();
	std::cout << base->name() << " " << (dynamic_cast<Derived *>(base.get()) != nullptr) << "\n";
}

// errno, in the library's own objects.
void numbers()
{
	caught("stoi", [] { (void)std::stoi("99999999999"); });
	caught("stoi", [] { (void)std::stoi("x"); });
	caught("stod", [] { (void)std::stod("1e999"); });
	std::ostringstream out;
	out << std::hex << 255 << " " << std::fixed << std::setprecision(2) << 3.14159L;
	std::cout << out.str() << " " << std::stold("2.25") << " " << std::stoul("ff", nullptr, 16) << "\n";
}

// Clocks' numbers and timespec.
void clocks()
{
	using namespace std::chrono;
	auto began = steady_clock::now();
	std::this_thread::sleep_for(milliseconds(5));
	std::cout << (steady_clock::now() - began >= milliseconds(5)) << " "
	          << (system_clock::to_time_t(system_clock::now()) > 1700000000) << "\n";
}

// pthread_create says EAGAIN; mutexes work.
void threads()
{
	std::mutex mutex;
	std::lock_guard held(mutex);
	std::cout << "held " << mutex.try_lock() << "\n";
	try {
		std::thread([] {}).join();
		std::cout << "a thread\n";
	} catch (const std::system_error &error) {
		std::cout << "no thread " << (error.code() == std::errc::resource_unavailable_try_again) << "\n";
	}
}

// struct stat, dirent, open's flags.
void files()
{
	fs::path top = fs::current_path() / "cxx-files";
	fs::create_directories(top / "sub");
	std::ofstream(top / "sub" / "file") << "line 1\nline 2\n";
	fs::copy_file(top / "sub" / "file", top / "copy");
	fs::create_symlink("copy", top / "link");
	std::vector<std::string> names;
	for (auto &entry : fs::recursive_directory_iterator(top))
		names.push_back(fs::relative(entry.path(), top).string() + (entry.is_directory() ? "/" : ""));
	std::sort(names.begin(), names.end());
	for (auto &name : names)
		std::cout << name << " ";
	std::cout << fs::file_size(top / "link") << " " << fs::read_symlink(top / "link").string() << "\n";
	std::ifstream in(top / "copy");
	for (std::string line; std::getline(in, line);)
		std::cout << "[" << line << "]";
	std::cout << " " << fs::remove_all(top) << "\n";
	caught("file_size", [] { (void)fs::file_size("/nothing"); });
	std::error_code code;
	fs::create_directory("/proc/none/x", code);
	std::cout << (code == std::errc::no_such_file_or_directory) << "\n";
}

void text()
{
	std::smatch match;
	std::string text = "key=42";
	if (std::regex_match(text, match, std::regex("(\\w+)=(\\d+)")))
		std::cout << match[1] << "/" << match[2] << "\n";
	std::mt19937 generator(std::random_device{}());
	std::cout << std::uniform_int_distribution<int>(4, 4)(generator) << "\n";
	for (std::string line; std::getline(std::cin, line);)
		std::cout << "<" << line << ">\n";
}

}

int main(int count, char **)
{
	containers();
	exceptions();
	numbers();
	clocks();
	threads();
	files();
	text();
	if (count > 1)
		throw std::logic_error("nobody catches this");
	return 3;
}
