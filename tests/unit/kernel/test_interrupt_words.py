"""The file that says what an interpreter's signal handler sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from balenawasm.kernel.interrupt_words import SignalWords, signal_words

FILE = b"""# comment
program /bin/other
witness 1 x
handlers 1 8
words 9
program /usr/bin/python
witness 64 3.12.0 (of that day)
handlers 100 8
words 300 304
"""
SHIPPED = Path(__file__).parents[3] / "images" / "python" / "rootfs" / "etc" / "signal-words"


def test_reading() -> None:
    found = signal_words(FILE, b"/usr/bin/python")
    assert found == SignalWords((64, b"3.12.0 (of that day)"), (100, 8), (300, 304))
    assert found.of(2) == ((116, 1), (300, 1), (304, 1))
    assert signal_words(FILE, b"/usr/bin/none") is None
    assert signal_words(SHIPPED.read_bytes(), b"/usr/bin/python") is not None


@pytest.mark.parametrize(
    "document",
    [
        b"program /p",
        b"program /p\nwitness 1 x\nhandlers 1\nwords 2",
        b"program /p\nwitness -1 x\nhandlers 1 8\nwords 2",
        b"program /p\nwitness 1 x\nhandlers 1 8\nwords 4294967296",
        b"program /p\nwitness one x\nhandlers 1 8\nwords 2",
        b"\xff\0\n\nprogram",
    ],
)
def test_nonsense(document: bytes) -> None:
    assert signal_words(document, b"/p") is None
