"""The C library's build, as far as it needs no compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balenawasm.toolchain import musl
from balenawasm.toolchain.musl import PART, _generate_headers, _keep, _type_of, jobs_of, object_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "name", "definition"),
    [
        ("TYPEDEF unsigned long long dev_t;", "dev_t", "typedef unsigned long long dev_t;"),
        ("TYPEDEF void * timer_t;", "timer_t", "typedef void * timer_t;"),
        (
            "STRUCT iovec { void *iov_base; size_t iov_len; };",
            "struct_iovec",
            "struct iovec { void *iov_base; size_t iov_len; };",
        ),
    ],
)
def test_a_type_is_defined_once_and_when_asked_for(line: str, name: str, definition: str) -> None:
    assert _type_of(line).splitlines() == [
        f"#if defined(__NEED_{name}) && !defined(__DEFINED_{name})",
        definition,
        f"#define __DEFINED_{name}",
        "#endif",
        "",
    ]


def test_other_lines_stay() -> None:
    assert _type_of("#define _Addr long") == "#define _Addr long\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A few files in musl's places."""
    files = {
        "VERSION": "1.2.3\n",
        "include/alltypes.h.in": "TYPEDEF int pid_t;\n",
        "arch/wasm32/bits/alltypes.h.in": "TYPEDEF int wchar_t;\n",
        "arch/wasm32/bits/syscall.h.in": "#define __NR_read 63\n#define __NR_odd (63 + 1)\n",
        "src/internal/libc.h": "",
        "src/stdio/printf.c": "",
        "src/stdio/i386/printf.c": "",
        "src/stdio/upstream/puts.c": "",
        "src/malloc/mallocng/malloc.c": "",
        "src/malloc/oldmalloc/malloc.c": "",
        "crt/crt1.c": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_compiles_the_general_sources_the_newer_allocator_and_the_start(tree: Path) -> None:
    jobs = jobs_of(tree)
    assert list(jobs) == ["src/malloc/mallocng/malloc.c", "src/stdio/printf.c", "crt/crt1.c"]
    assert jobs["crt/crt1.c"][-3:] == ("/work/crt/crt1.c", "-o", "/work/obj/crt_crt1.o")


def test_objects_of_one_name_in_two_folders_do_not_meet() -> None:
    assert object_of("src/malloc/free.c") != object_of("src/malloc/mallocng/free.c")


def test_makes_the_headers_that_musl_generates(tree: Path) -> None:
    _generate_headers(tree)
    types = (tree / "include/bits/alltypes.h").read_text()
    assert types.index("typedef int wchar_t;") < types.index("typedef int pid_t;")
    calls = (tree / "include/bits/syscall.h").read_text().splitlines()
    assert calls == ["#define __NR_read 63", "#define SYS_read 63"]
    assert '"1.2.3"' in (tree / "src/internal/version.h").read_text()


def test_what_is_replaced_stays_within_reach(tmp_path: Path) -> None:
    original, place = tmp_path / "puts.c", tmp_path / "upstream" / "puts.c"
    original.write_text("musl's")
    _keep(original, place)
    _keep(tmp_path / "ours.c", tmp_path / "upstream" / "ours.c")
    assert [path.name for path in place.parent.iterdir()] == ["puts.c"]


def test_the_digest_is_that_of_our_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("arch", "crt", "include", "src"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(musl, "PART", tmp_path)
    before = musl.sysroot_digest()
    (tmp_path / "src" / "new.c").write_text("int answer;")
    assert musl.sysroot_digest() != before


def test_every_replacement_says_why() -> None:
    """Sources of ours begin with a comment."""
    sources = [*PART.glob("src/**/*.[ch]"), *PART.glob("crt/*.c")]
    assert len(sources) > 50
    assert [path.name for path in sources if not path.read_text().startswith("/*")] == []
