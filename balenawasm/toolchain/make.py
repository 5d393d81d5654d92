"""GNU make for balenaos/c, from Debian's source package, as an artifact: `usr/bin/make`.

There is no configure step, for configure would have to run programs here: what it would find out
stands in compiler/make/config.h. Make's own glob and fnmatch are compiled in, for make hands glob
functions of its own (GLOB_ALTDIRFUNC), which musl's does not take.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.toolchain.artifacts import digest_of
from balenawasm.toolchain.debian_source import DebianSource, fetch_source, unpack_source
from balenawasm.toolchain.llvm import HostMount, Llvm
from balenawasm.toolchain.llvm_package import llvm_artifact, llvm_digest
from balenawasm.toolchain.musl import TARGET, sysroot_artifact, sysroot_digest

if TYPE_CHECKING:
    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest
    from balenawasm.toolchain.provider import Toolchain

NAME: Final = "make"
SOURCE: Final = DebianSource(
    "make-dfsg",
    "4.3-4.1",
    {
        "make-dfsg_4.3.orig.tar.gz": (
            "be4c17542578824e745f83bcd2a9ba264206187247cb6a5f5df99b0a9d1f9047"
        )
    },
)
PART: Final = Path(__file__).parents[2] / "compiler" / "make"
_MODULES: Final = (
    "src/ar", "src/arscan", "src/commands", "src/default", "src/dir", "src/expand", "src/file",
    "src/function", "src/getopt", "src/getopt1", "src/guile", "src/hash", "src/implicit",
    "src/job", "src/load", "src/loadapi", "src/main", "src/misc", "src/output", "src/posixos",
    "src/read", "src/remake", "src/remote-stub", "src/rule", "src/signame", "src/strcache",
    "src/variable", "src/version", "src/vpath", "lib/concat-filename", "lib/fnmatch", "lib/glob",
    "own/findprog",
)  # fmt: skip
_TEMPLATES: Final = ("lib/fnmatch", "lib/glob")
"""Headers that its makefile copies from `NAME.in.h`."""
_COMPILE: Final = (
    "-Os", "-w", "-std=gnu99", "-DHAVE_CONFIG_H", "-I/work/own", "-I/work/src", "-I/work/lib",
    # glob.c's own realloc takes a char *.
    "-Wno-incompatible-pointer-types",
)  # fmt: skip


def make_digest() -> Digest:
    """Return the digest that names the artifact."""
    words = (str(SOURCE), *SOURCE.files.values(), *_MODULES, *_TEMPLATES, *_COMPILE)
    flags = (*TARGET.compile, *TARGET.link)
    return digest_of(llvm_digest(), sysroot_digest(), *words, *flags, PART, "1")


def make_artifact(toolchain: Toolchain) -> Path:
    """Return the artifact's folder, made if it is missing.

    Raises ToolchainError, NpmError, EngineError.
    """

    def make(folder: Path, reporter: Reporter) -> None:
        llvm, sysroot = llvm_artifact(toolchain), sysroot_artifact(toolchain)
        downloads, environment = toolchain.cache.downloads, toolchain.environment
        (archive,) = fetch_source(SOURCE, downloads, environment, reporter).values()
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as temporary:
            tree = Path(temporary, "tree")
            unpack_source(archive, tree)
            shutil.copytree(PART, tree / "own")
            for name in _TEMPLATES:
                shutil.copyfile(tree / f"{name}.in.h", tree / f"{name}.h")
            mounts = [HostMount(tree, "/work"), HostMount(sysroot, "/sysroot", read_only=True)]
            service = Llvm(toolchain.home, llvm, mounts)
            try:
                _compile(service, reporter)
            finally:
                service.close()
            program = folder / "usr" / "bin" / "make"
            program.parent.mkdir(parents=True)
            shutil.copyfile(tree / "make.wasm", program)
            program.chmod(0o755)

    return toolchain.cache.obtain(NAME, make_digest(), make)


def _compile(llvm: Llvm, reporter: Reporter) -> None:
    words = ("clang", "-c", *_COMPILE, *TARGET.compile)
    objects = [f"/work/{name}.o" for name in _MODULES]
    jobs = [(*words, f"/work/{name}.c", "-o", f"/work/{name}.o") for name in _MODULES]
    llvm.run_all(jobs, reporter)
    link = ("wasm-ld", *TARGET.link, "--strip-all", *objects, *TARGET.libraries)
    llvm.check((*link, "-o", "/work/make.wasm"))
