# The tag of C++ exceptions, with the address of what was thrown. clang leaves it to its runtime library, and the one
# that comes with LLVM's package lacks it.
	.globl	__cpp_exception
	.tagtype	__cpp_exception i32
__cpp_exception:
