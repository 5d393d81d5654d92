"""BusyBox's commands and its tree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from balenawasm.toolchain.busybox import compiling, lay_out, linking

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    ["-Iinclude", "-c", "-o", "coreutils/cat.o", "coreutils/cat.c"],
    ["-c", "-o", "shell/hush.o", "shell/hush.c"],
]


def test_the_commands() -> None:
    words = compiling(COMMANDS[0])
    assert words[0] == "clang"
    assert words[-5:] == COMMANDS[0]
    assert "-working-directory=/work" in words
    words = linking(COMMANDS)
    assert words[0] == "wasm-ld"
    start = words.index("/work/coreutils/cat.o")
    assert words[start + 1] == "/work/shell/hush.o"
    assert words.index("/sysroot/lib/crt1.o") < start < words.index("-lc")
    assert words[-2:] == ["-o", "/work/busybox.wasm"]


def test_the_tree(tmp_path: Path) -> None:
    program = tmp_path / "busybox.wasm"
    program.write_bytes(b"module")
    folder = tmp_path / "made"
    folder.mkdir()
    lay_out(program, ["/bin/sh", "/usr/bin/env", "/sbin/init"], folder)
    rootfs = folder / "rootfs"
    assert (rootfs / "bin" / "busybox").read_bytes() == b"module"
    assert os.access(rootfs / "bin" / "busybox", os.X_OK)
    for link in ("bin/sh", "usr/bin/env", "sbin/init"):
        assert os.readlink(rootfs / link) == "/bin/busybox"
    assert (folder / "applets").read_text() == "env\ninit\nsh\n"
    assert not program.exists()
