from __future__ import annotations

import pytest

from balenawasm.engine.program_file import NotAProgramError, check_preamble, code_size
from balenawasm.engine.wat import wat_to_wasm


def refusal(data: bytes) -> NotAProgramError:
    with pytest.raises(NotAProgramError) as caught:
        check_preamble(memoryview(data), "tool")
    assert caught.value.message.startswith("tool ")
    assert caught.value.exit_code == 126
    return caught.value


def test_module_passes() -> None:
    check_preamble(memoryview(wat_to_wasm("(module)")), "tool")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\0as", "starts with 00 61 73"),
        (b"\0asm", "is cut short"),
        (b"\0asm\x02\0\0\0", "unknown version 02 00 00 00"),
        (b"\x7fELF\x02\x01", "native Linux (ELF) executable"),
        (b"#!/bin/sh\n", "a script"),
        (b"(module)", "text form"),
        (b"hello world", "starts with 68 65 6c 6c 6f 20 77 6f"),
    ],
)
def test_others_are_named(data: bytes, words: str) -> None:
    assert words in refusal(data).message


def test_component_is_not_yet() -> None:
    error = refusal(wat_to_wasm("(component)"))
    assert "WASI 0.2 component" in error.message
    assert "not supported yet" in error.message
    assert "wasm32-wasip1" in (error.hint or "")


def test_code_size_is_the_code_sections() -> None:
    assert code_size(memoryview(wat_to_wasm("(module)"))) == 0
    small = code_size(memoryview(wat_to_wasm("(module (func))")))
    large = code_size(memoryview(wat_to_wasm(f"(module (func {'nop ' * 5000}))")))
    assert 0 < small < 10
    assert 5000 < large < 5020


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\xff\xff\xff\xff\x0f",  # a length beyond the file
        b"\x0a\xff\xff\xff\xff\xff\xff",  # a length over five bytes
        b"\x01",  # a section without length
        b"\x00\x00" * 20_000,  # more sections than are looked at
    ],
)
def test_malformed_sections_do_no_harm(body: bytes) -> None:
    data = b"\0asm\x01\0\0\0" + body
    assert 0 <= code_size(memoryview(data)) <= len(data)
