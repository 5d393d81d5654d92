"""Real programs, unmodified, from Debian's source packages: built for our C library and native.

The sources are fetched when a test first needs them and never committed. The programs of both sides
lie in the tests' cache directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from c.libc_programs import digest_of_texts, link_words, sysroot_llvm
from c.toolchain import cache_directory

from balenawasm.build.events import ignore_events
from balenawasm.build.reporter import Reporter
from balenawasm.toolchain import musl
from balenawasm.toolchain.artifacts import ArtifactCache, artifact_folder
from balenawasm.toolchain.debian_source import DebianSource, fetch_source, unpack_source
from balenawasm.toolchain.llvm import HostMount

if TYPE_CHECKING:
    from collections.abc import Callable

FLAGS = ("-O2", "-w", "-std=gnu17")


class Package(NamedTuple):
    """A package, and what of it is compiled into one program."""

    source: DebianSource
    sources: Callable[[Path], list[Path]]
    """The C files of an unpacked source, which it may have to make first."""
    flags: tuple[str, ...] = ()


def _lua(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "src").glob("*.c")) if path.name != "luac.c"]


def _bzip2(folder: Path) -> list[Path]:
    names = "blocksort huffman crctable randtable compress decompress bzlib bzip2"
    return [folder / f"{name}.c" for name in names.split()]


def _sqlite(folder: Path) -> list[Path]:
    for words in (["./configure", "--disable-tcl"], ["make", "sqlite3.c", "shell.c"]):
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return [folder / "shell.c", folder / "sqlite3.c"]


PACKAGES = {
    "lua": Package(
        DebianSource(
            "lua5.4",
            "5.4.4-3+deb12u1",
            {
                "lua5.4_5.4.4.orig.tar.gz": (
                    "164c7849653b80ae67bec4b7473b884bf5cc8d2dca05653475ec2ed27b9ebf61"
                )
            },
        ),
        _lua,
        ("-DLUA_USE_POSIX",),
    ),
    "bzip2": Package(
        DebianSource(
            "bzip2",
            "1.0.8-5",
            {
                "bzip2_1.0.8.orig.tar.gz": (
                    "ab5a03176ee106d3f0fa90e381da478ddae405918153cca248e682cd0c4a2269"
                )
            },
        ),
        _bzip2,
        ("-D_FILE_OFFSET_BITS=64",),
    ),
    "sqlite3": Package(
        DebianSource(
            "sqlite3",
            "3.40.1-2+deb12u2",
            {
                "sqlite3_3.40.1.orig.tar.xz": (
                    "aaa776260ab4dc976db34aa7891819484c8676b5b2783123ebc6301e2ca5d655"
                )
            },
        ),
        _sqlite,
        (
            "-DSQLITE_THREADSAFE=0",
            "-DSQLITE_OMIT_LOAD_EXTENSION",
            "-DHAVE_USLEEP=1",
            "-D_HAVE_SQLITE_CONFIG_H=0",
        ),
    ),
}


class Built(NamedTuple):
    """A program for both sides."""

    guest: Path
    native: Path


def build(name: str) -> Built:
    """Return the program of a package, built if it is missing."""
    package = PACKAGES[name]
    text = repr((package.source, package.flags, FLAGS, musl.sysroot_digest()))
    stem = cache_directory() / "programs" / f"{name}-{digest_of_texts(text.encode())}"
    built = Built(stem.with_suffix(".wasm"), stem.with_suffix(".native"))
    if not (built.guest.exists() and built.native.exists()):
        stem.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_directory()) as temporary:
            _build(package, Path(temporary), built)
    return built


def _build(package: Package, folder: Path, built: Built) -> None:
    cache = ArtifactCache(artifact_folder(os.environ))
    reporter = Reporter("", ignore_events)
    files = fetch_source(package.source, cache.downloads, os.environ, reporter)
    for archive in files.values():
        unpack_source(archive, folder)
    sources = [path.relative_to(folder) for path in package.sources(folder)]
    flags = (*FLAGS, *package.flags)
    native = ["cc", *flags, *map(str, sources), "-lm", "-o", "native.program"]
    subprocess.run(native, cwd=folder, check=True)
    llvm = sysroot_llvm(HostMount(folder, "/source"))
    try:
        objects = [f"/source/{number}.o" for number in range(len(sources))]
        llvm.run_all(
            [
                ["clang", "-c", *musl.TARGET.compile, *flags, f"/source/{path}", "-o", made]
                for path, made in zip(sources, objects, strict=True)
            ],
            reporter,
        )
        llvm.check(link_words(objects, "/source/guest.program"))
    finally:
        llvm.close()
    shutil.move(folder / "guest.program", built.guest)
    shutil.move(folder / "native.program", built.native)
