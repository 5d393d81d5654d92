// Before libc++abi's cxa_exception.cpp, so that it is there in every program that throws: around main, what nobody
// catches ends the program as std::terminate does, with its message. Without it the engine would report an exception
// that left the program. crt1.o calls this where it is linked.

#include <exception>

extern "C" int __cxa_call_main(int (*main)())
{
	try {
		return main();
	} catch (...) {
		std::terminate();
	}
}
