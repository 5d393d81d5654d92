from __future__ import annotations

import pytest

from balenawasm.kernel.program import MissingInterpreterError, find_program, load_program
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import Node, OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError

WASM = b"\0asm\1\0\0\0"


def put(directory: Node, name: bytes, data: bytes, mode: int = 0o755) -> None:
    file = directory.create(name)
    file.set_mode(mode)
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
    put(app, b"notes", b"hi", 0o644)
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
        (b"./notes", Errno.EACCES),
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


# Scripts.


def test_a_link_keeps_its_name(namespace: Namespace) -> None:
    program = load_program(namespace, NOBODY, b"/usr/bin/link", cwd=b"/", environ=())
    assert (program.path, program.name) == (b"/usr/bin/tool", b"link")


def script(namespace: Namespace, name: bytes, text: bytes) -> None:
    put(namespace.root.node.lookup(NOBODY, b"app"), name, text)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        (b"#!/app/tool\nrest", (b"/app/tool", b"/app/s")),
        (b"#!/app/tool", (b"/app/tool", b"/app/s")),
        (b"#! \t/app/tool \t -x  y \t\nrest", (b"/app/tool", b"-x  y", b"/app/s")),
        (b"#!/app/tool\t-x\n", (b"/app/tool", b"-x", b"/app/s")),
        (b"#!tool\n", (b"tool", b"/app/s")),
        (b"#!/app/tool\0-x\n", (b"/app/tool", b"/app/s")),
        (b"#!/app/tool " + b"x" * 300 + b"\n", (b"/app/tool", b"x" * 243, b"/app/s")),
    ],
)
def test_scripts(namespace: Namespace, text: bytes, prefix: tuple[bytes, ...]) -> None:
    script(namespace, b"s", text)
    program = load_program(namespace, NOBODY, b"/app/s", cwd=b"/app", environ=())
    assert program.path == b"/app/tool"
    assert program.prefix == prefix
    assert program.name == b"s"
    assert program.arguments([b"zero", b"one", b""])[-3:] == (b"/app/s", b"one", b"")


@pytest.mark.parametrize(
    ("text", "errno"),
    [
        (b"#!", Errno.ENOEXEC),
        (b"#! \n/app/tool", Errno.ENOEXEC),
        (b"#!/" + b"x" * 300 + b"\n", Errno.ENOEXEC),
        (b" #!/app/tool\n", Errno.ENOEXEC),
        (b"#!/app/nothing\n", Errno.ENOENT),
        (b"#!/app/tool\r\n", Errno.ENOENT),
        (b"#!/app\n", Errno.EACCES),
        (b"#!/app/text\n", Errno.ENOEXEC),
        (b"#!/app/s\n", Errno.ELOOP),
    ],
)
def test_scripts_that_cannot_run(namespace: Namespace, text: bytes, errno: Errno) -> None:
    script(namespace, b"s", text)
    with pytest.raises(GuestError) as caught:
        load_program(namespace, NOBODY, b"s", cwd=b"/app", environ=())
    assert caught.value.errno == errno


def test_scripts_of_scripts(namespace: Namespace) -> None:
    script(namespace, b"s0", b"#!/app/tool -t\n")
    for level in range(1, 5):
        script(namespace, b"s%d" % level, b"#!/app/s%d -%d\n" % (level - 1, level))
    program = load_program(namespace, NOBODY, b"s3", cwd=b"/app", environ=())
    assert program.arguments([b"s3", b"a"]) == (
        *(b"/app/tool", b"-t"),
        *(b"/app/s0", b"-1"),
        *(b"/app/s1", b"-2"),
        *(b"/app/s2", b"-3"),
        *(b"s3", b"a"),
    )
    with pytest.raises(GuestError) as caught:
        load_program(namespace, NOBODY, b"s4", cwd=b"/app", environ=())
    assert caught.value.errno == Errno.ELOOP


def test_a_script_through_env(namespace: Namespace) -> None:
    usr_bin = namespace.root.node.lookup(NOBODY, b"usr").lookup(NOBODY, b"bin")
    put(usr_bin, b"env", WASM)
    put(usr_bin, b"hello.py", b"#!/usr/bin/env python\nprint()\n")
    program = find_program(namespace, NOBODY, b"hello.py", cwd=b"/", environ=())
    assert program.path == b"/usr/bin/env"
    assert program.arguments([b"hello.py", b"-v"]) == (
        b"/usr/bin/env",
        b"python",
        b"/usr/bin/hello.py",
        b"-v",
    )


@pytest.mark.parametrize(
    ("line", "prefix"),
    [
        (b"/usr/bin/env tool", (b"tool",)),
        (b"/bin/env tool", (b"tool",)),
        (b"/usr/bin/env -S tool -u  -B", (b"tool", b"-u", b"-B")),
        (b"/usr/bin/env -Stool", (b"tool",)),
        (b"/usr/bin/env /app/tool", (b"/app/tool",)),
        (b"/usr/bin/env inner", (b"/app/tool", b"-x", b"/app/inner")),
    ],
)
def test_a_script_through_env_in_an_image_without_env(
    namespace: Namespace, line: bytes, prefix: tuple[bytes, ...]
) -> None:
    script(namespace, b"inner", b"#!/app/tool -x\n")
    script(namespace, b"s", b"#!" + line + b"\n")
    path = (b"PATH=/nowhere:/app/text:/app",)
    program = load_program(namespace, NOBODY, b"/app/s", cwd=b"/", environ=path)
    assert program.path == b"/app/tool"
    assert program.prefix == (*prefix, b"/app/s")


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        (b"/usr/bin/env", b"/usr/bin/env"),
        (b"/usr/bin/env nothing", b"nothing"),
        (b"/usr/bin/env tool -u", b"tool -u"),
        (b"/usr/bin/env -i tool", b"/usr/bin/env"),
        (b"/usr/bin/env -S", b"/usr/bin/env"),
        (b"/usr/bin/env -S A=1 tool", b"/usr/bin/env"),
        (b"/usr/local/bin/env tool", b"/usr/local/bin/env"),
    ],
)
def test_what_env_cannot_find(namespace: Namespace, line: bytes, missing: bytes) -> None:
    script(namespace, b"s", b"#!" + line + b"\n")
    with pytest.raises(MissingInterpreterError) as caught:
        load_program(namespace, NOBODY, b"/app/s", cwd=b"/", environ=(b"PATH=/app",))
    assert caught.value.interpreter == missing


def test_scripts_that_interpret_each_other_through_env(namespace: Namespace) -> None:
    script(namespace, b"s", b"#!/usr/bin/env s\n")
    with pytest.raises(GuestError) as caught:
        load_program(namespace, NOBODY, b"/app/s", cwd=b"/", environ=(b"PATH=/app",))
    assert caught.value.errno == Errno.ELOOP


def test_a_missing_interpreter_is_named(namespace: Namespace) -> None:
    script(namespace, b"s", b"#!/usr/bin/python9 -u\n")
    for name in (b"./s", b"s"):
        with pytest.raises(MissingInterpreterError) as caught:
            find_program(
                namespace, NOBODY, name, cwd=b"/app", environ=(b"PATH=/nowhere:/app:/usr/bin",)
            )
        assert caught.value.interpreter == b"/usr/bin/python9"
