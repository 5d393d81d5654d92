/* In place of musl's file: no old structures with short times to translate. */
#include <sys/ioctl.h>
#include <stdarg.h>
#include "syscall.h"

int ioctl(int fd, int request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	long argument = va_arg(arguments, long);
	va_end(arguments);
	return __syscall_ret(__door_ioctl(fd, request, argument));
}
