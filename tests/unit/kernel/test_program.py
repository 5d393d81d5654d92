from __future__ import annotations

import pytest

from balenawasm.kernel.program import find_program
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import Node, OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError

WASM = b"\0asm\1\0\0\0"


def put(directory: Node, name: bytes, data: bytes) -> None:
    file = directory.create(name)
    file.open(NOBODY, OpenFlags(write=True)).write(NOBODY, [memoryview(data)])


@pytest.fixture
def namespace() -> Namespace:
    root = Tmpfs(1 << 20).root
    usr_bin = root.mkdir(b"usr").mkdir(b"bin")
    put(usr_bin, b"tool", WASM)
    put(usr_bin, b"script", b"#!/bin/sh\n")
    usr_bin.symlink(b"link", b"/usr/bin/tool")
    app = root.mkdir(b"app")
    put(app, b"tool", WASM + b"app")
    app.mkdir(b"directory")
    put(app, b"text", b"hi")
    put(app, b"empty", b"")
    return Namespace(root)


def find(namespace: Namespace, name: bytes, *environ: bytes, cwd: bytes = b"/app") -> bytes:
    return find_program(namespace, NOBODY, name, cwd=cwd, environ=environ).path


@pytest.mark.parametrize(
    ("name", "environ", "path"),
    [
        (b"tool", (), b"/usr/bin/tool"),
        (b"tool", (b"PATH=/nowhere:/app/text:/app:/usr/bin",), b"/app/tool"),
        (b"tool", (b"PATH=",), b"/app/tool"),
        (b"tool", (b"PATH=/nowhere:",), b"/app/tool"),
        (b"tool", (b"PATH=../usr/bin",), b"/usr/bin/tool"),
        (b"./tool", (), b"/app/tool"),
        (b"/usr/bin/../../app/tool", (), b"/app/tool"),
        (b"link", (), b"/usr/bin/tool"),
        (b"directory", (b"PATH=/app:/usr/bin",), None),
    ],
)
def test_found(
    namespace: Namespace, name: bytes, environ: tuple[bytes, ...], path: bytes | None
) -> None:
    if path is None:
        with pytest.raises(GuestError) as caught:
            find(namespace, name, *environ)
        assert caught.value.errno == Errno.EACCES
    else:
        assert find(namespace, name, *environ) == path


@pytest.mark.parametrize(
    ("name", "errno"),
    [
        (b"", Errno.ENOENT),
        (b"nothing", Errno.ENOENT),
        (b"./nothing", Errno.ENOENT),
        (b"text/x", Errno.ENOTDIR),
        (b"./directory", Errno.EACCES),
        (b"./text", Errno.ENOEXEC),
        (b"./empty", Errno.ENOEXEC),
        (b"script", Errno.ENOENT),
        (b"./" + b"x" * 256, Errno.ENAMETOOLONG),
        (b"./x\0", Errno.EINVAL),
    ],
)
def test_not_found(namespace: Namespace, name: bytes, errno: Errno) -> None:
    with pytest.raises(GuestError) as caught:
        find(namespace, name)
    assert caught.value.errno == errno


def test_a_file_on_the_path_is_no_directory(namespace: Namespace) -> None:
    with pytest.raises(GuestError) as caught:
        find(namespace, b"nothing", b"PATH=/app/text")
    assert caught.value.errno == Errno.ENOENT


def test_the_content_is_the_files(namespace: Namespace) -> None:
    program = find_program(namespace, NOBODY, b"./tool", cwd=b"/app", environ=())
    assert bytes(program.content.data) == WASM + b"app"
