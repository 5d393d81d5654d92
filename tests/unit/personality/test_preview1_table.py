from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from preview1_guest import NOWHERE, CallError, Guest

from balenawasm.personality.preview1 import TABLE
from balenawasm.personality.reference import markdown
from balenawasm.personality.syscall import Syscall, table_of
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.signatures import SIGNATURES

DOCUMENT = Path(__file__).parents[3] / "docs" / "syscalls.md"


def test_the_table_is_complete() -> None:
    assert TABLE.keys() == SIGNATURES.keys()
    assert len(TABLE) == 46


@pytest.mark.parametrize("name", sorted(TABLE))
def test_handlers_take_what_the_signature_says(name: str) -> None:
    syscall = TABLE[name]
    assert syscall.name == name == syscall.handler.__name__
    assert syscall.signature == SIGNATURES[name]
    parameters = inspect.signature(syscall.handler).parameters
    assert len(parameters) == 1 + len(syscall.signature)


def test_a_name_is_defined_once() -> None:
    one = Syscall("x", "", lambda process: 0)
    with pytest.raises(ValueError, match="twice"):
        table_of([one], [one])


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == markdown({"wasi_snapshot_preview1": TABLE}), (
        "run: .venv/bin/python scripts/write-syscalls"
    )


ON_FDS = sorted(
    name
    for name in TABLE
    if name.startswith(("fd_", "sock_", "path_")) and name not in ("path_symlink", "fd_renumber")
)


@pytest.mark.parametrize("name", ON_FDS)
def test_an_fd_that_is_not_open_is_ebadf(guest: Guest, name: str) -> None:
    arguments = [0] * len(TABLE[name].signature)
    arguments[0] = 63
    with pytest.raises(CallError) as caught:
        guest.call(name, *arguments)
    assert caught.value.errno == Errno.EBADF


BAD_POINTERS = [
    ("args_get", (NOWHERE, 1024)),
    ("args_get", (1024, NOWHERE)),
    ("args_sizes_get", (NOWHERE, 1024)),
    ("args_sizes_get", (1024, NOWHERE)),
    ("environ_get", (1024, 0xFFFF_FFFF)),
    ("environ_sizes_get", (NOWHERE, 1024)),
    ("clock_res_get", (0, NOWHERE)),
    ("clock_time_get", (1, 0, NOWHERE)),
    ("random_get", (NOWHERE, 8)),
    ("random_get", (1024, 0xFFFF_FFFF)),
    ("fd_fdstat_get", (3, NOWHERE)),
    ("fd_filestat_get", (3, NOWHERE)),
    ("fd_prestat_get", (3, NOWHERE)),
    ("fd_prestat_dir_name", (3, NOWHERE, 10)),
    ("fd_readdir", (3, NOWHERE, 100, 0, 1024)),
    ("fd_readdir", (3, 1024, 100, 0, NOWHERE)),
    ("path_create_directory", (3, NOWHERE, 4)),
    ("path_filestat_get", (3, 0, NOWHERE, 4, 1024)),
    ("path_readlink", (3, NOWHERE, 4, 1024, 10, 1024)),
    ("poll_oneoff", (NOWHERE, 1024, 1, 1024)),
    ("poll_oneoff", (1024, NOWHERE, 1, 1024)),
    ("poll_oneoff", (1024, 1024, 1, NOWHERE)),
]


@pytest.mark.parametrize(("name", "arguments"), BAD_POINTERS)
def test_pointers_outside_are_efault(name: str, arguments: tuple[int, ...]) -> None:
    guest = Guest([b"one", b"two"], [b"A=1"])
    with pytest.raises(CallError) as caught:
        guest.call(name, *arguments)
    assert caught.value.errno == Errno.EFAULT
