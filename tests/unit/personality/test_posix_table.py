from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from balenawasm.engine.callbacks import callback_of
from balenawasm.personality import linux, posix
from balenawasm.personality.posix import TABLE
from balenawasm.personality.reference import with_functions
from balenawasm.runtime.machine import TABLES
from balenawasm.wasi.errno import Errno

DOCUMENT = Path(__file__).parents[3] / "docs" / "posix-door.md"


@pytest.mark.parametrize("name", sorted(TABLE))
def test_handlers_take_what_the_signature_says(name: str) -> None:
    syscall = TABLE[name]
    assert syscall.name == name == syscall.handler.__name__.rstrip("_")
    parameters = inspect.signature(syscall.handler).parameters
    assert len(parameters) == 1 + len(syscall.signature)
    assert syscall.delivers
    assert callable(callback_of(syscall))


def test_the_document_is_up_to_date() -> None:
    text = DOCUMENT.read_text()
    assert text == with_functions(text, TABLE), "run: .venv/bin/python scripts/write-syscalls"


def test_a_document_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_functions("# Title\n", TABLE)


def test_programs_find_the_door() -> None:
    assert TABLES[posix.MODULE] is TABLE
    assert set(TABLES) == {"wasi_snapshot_preview1", posix.MODULE}
    assert len(TABLES) == 2
    assert TABLES.get("env") is None


def test_every_errno_has_linuxs_number() -> None:
    assert set(linux.ERRNO) == set(Errno) - {Errno.SUCCESS}
    assert linux.answer_of(Errno.ENOENT) == (1 << 32) - 2
    assert linux.ERRNO[Errno.ENOTSUP] == 95
    assert linux.ERRNO[Errno.ENOTCAPABLE] == 1
    assert linux.ERRNO[Errno.EINPROGRESS] == 115


@pytest.mark.parametrize(
    "flags", [0, linux.O_APPEND, linux.O_NONBLOCK, linux.O_SYNC, linux.O_DSYNC]
)
def test_status_flags_go_to_wasi_and_back(flags: int) -> None:
    assert linux.status_flags_of(linux.fdflags_of(flags)) == flags
