"""A system call as data: what the engine needs to define it, what the documentation needs to list
it.

A handler gets the calling process and the guest's arguments, each a non-negative integer as wide as
its wasm type (the handler itself makes a signed one signed), and answers an errno. It decodes,
checks flags and rights, checks every pointer it will use, calls the kernel or the VFS, and encodes.
It raises GuestError or OSError for an errno (`kernel.dispatch` tells which), Killed or ExitRequest
to end the guest; any other exception is a bug and ends the guest too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from balenawasm.record import NamedTuple
from balenawasm.wasi.signatures import SIGNATURES

if TYPE_CHECKING:
    from balenawasm.wasi.errno import Errno

Handler = Callable[..., int]
Support = Literal["full", "partial"]


class Syscall(NamedTuple):
    """One function that guests import."""

    name: str
    signature: str
    """One letter for each parameter: `i` = i32, `q` = i64."""
    handler: Handler
    support: Support = "full"
    note: str = ""
    """What a guest's author should know: limits, choices the specification leaves open. Markdown,
    one line.
    """
    encode: Callable[[Errno], int] = int
    """What the guest gets for an errno, as a u32."""
    delivers: bool = False
    """Whether caught signals are delivered (the guest's handlers run) on the way back."""
    restarts: bool = True
    """Whether an interruption by a signal with SA_RESTART starts the call anew, after the handler.
    """
    fast: bool = False
    """Whether the engine may let its C function of this name handle the plain case."""


def preview1(
    handler: Handler, note: str = "", *, support: Support = "full", fast: bool = False
) -> Syscall:
    """The WASI preview 1 call that a handler is named after."""
    name = handler.__name__
    return Syscall(name, SIGNATURES[name], handler, support, note, fast=fast)


def table_of(*families: Iterable[Syscall]) -> Mapping[str, Syscall]:
    """One table by name; ValueError when two families define the same name."""
    table: dict[str, Syscall] = {}
    for family in families:
        for syscall in family:
            if syscall.name in table:
                raise ValueError(f"system call {syscall.name} is defined twice")
            table[syscall.name] = syscall
    return table
