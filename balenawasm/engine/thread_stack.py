"""Does this thread have the stack that guests need?

The engine stops a guest at its share of the stack (configuration.GUEST_STACK) by counting from
where it was entered. On a thread with less than that the guest would hit the end of the stack
instead and take the whole process down. So it is looked at once per thread, and refused.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Final

from balenawasm.engine.configuration import GUEST_STACK
from balenawasm.engine.library import EngineError

_HOST_CALLS: Final = 1 << 20
"""The least that must be left for host calls."""
_Attributes: Final = ctypes.c_char * 128
"""At least `sizeof(pthread_attr_t)`: 56 on x86-64, 64 on aarch64. One type:
ctypes would make one for each thread, a reference cycle each time.
"""


class _Checked(threading.local):
    large_enough = False


_checked: Final = _Checked()
_libc: Final = ctypes.PyDLL(None)
_libc.pthread_self.restype = ctypes.c_size_t
_libc.pthread_getattr_np.argtypes = (ctypes.c_size_t, ctypes.c_char_p)
_libc.pthread_attr_getstack.argtypes = (
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_size_t),
)
_libc.pthread_attr_destroy.argtypes = (ctypes.c_char_p,)


def stack_size() -> int:
    """The size of the calling thread's stack in bytes; for the main thread what it may grow to."""
    attributes = _Attributes()
    start, size = ctypes.c_size_t(), ctypes.c_size_t()
    if _libc.pthread_getattr_np(_libc.pthread_self(), attributes) != 0:
        return 0
    _libc.pthread_attr_getstack(attributes, ctypes.byref(start), ctypes.byref(size))
    _libc.pthread_attr_destroy(attributes)
    return size.value


def check_stack() -> None:
    """Raise EngineError when the calling thread is too small to run guests."""
    if _checked.large_enough:
        return
    size = stack_size()
    needed = GUEST_STACK + _HOST_CALLS
    if size < needed:
        raise EngineError(
            f"a thread with {size >> 10} KiB of stack cannot run guests: it takes {needed >> 10}",
            hint="start guests through the kernel, or raise the limit (ulimit -s)",
        )
    _checked.large_enough = True
