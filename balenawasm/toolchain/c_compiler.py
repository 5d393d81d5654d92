"""The C and C++ compiler as an artifact: what balenaos/c has in `/usr` beside LLVM itself.

    usr/bin/cc            our driver (compiler/), and its other names as links to it
    usr/include           the C library's headers; c++/v1 the C++ library's
    usr/lib/wasm32-wasip1 crt1.o and the libraries
    usr/lib/clang         balenaos.cfg, clang's own headers and compiler-rt

Of clang's headers those are left out that musl has, which are the ones for its programs, and those
for other processors.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.toolchain.artifacts import digest_of
from balenawasm.toolchain.libcxx import libcxx_artifact, libcxx_digest
from balenawasm.toolchain.llvm import HostMount, Llvm
from balenawasm.toolchain.llvm_package import llvm_artifact, llvm_digest
from balenawasm.toolchain.musl import TARGET, sysroot_artifact, sysroot_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest
    from balenawasm.toolchain.provider import Toolchain

NAME: Final = "c"
PART: Final = Path(__file__).parents[2] / "compiler"
CONFIGURATION: Final = "balenaos.cfg"
TOOLS: Final = (
    "c++", "c99", "clang", "clang++", "g++", "gcc",
    "addr2line", "ar", "c++filt", "ld", "nm", "objcopy", "objdump", "ranlib", "readelf", "size",
    "strip", "wasm-ld",
)  # fmt: skip
"""The driver's names beside `cc`; the second line's are LLVM's own programs."""
_LIBRARIES: Final = "usr/lib/wasm32-wasip1"
_CLANG_HEADERS: Final = (
    "__float*.h", "__stdarg*.h", "__stddef*.h", "stdatomic.h", "stdckdint.h", "stdcountof.h",
    "unwind.h", "varargs.h", "wasm_simd128.h",
)  # fmt: skip
_COMPILE: Final = ("-Os", "-std=gnu17", "-Wall", "-Wextra", "-Werror")


def c_digest() -> Digest:
    """Return the digest that names the artifact."""
    words = (*TOOLS, *_CLANG_HEADERS, *_COMPILE, *TARGET.compile, *TARGET.link)
    own = (*sorted(PART.glob("*.[ch]")), PART / CONFIGURATION)
    return digest_of(llvm_digest(), sysroot_digest(), libcxx_digest(), *words, *own, "1")


def c_artifact(toolchain: Toolchain) -> Path:
    """Return the artifact's folder, made if it is missing, and what it is made from.

    Raises ToolchainError, NpmError, EngineError.
    """

    def make(folder: Path, _reporter: Reporter) -> None:
        llvm, sysroot = llvm_artifact(toolchain), sysroot_artifact(toolchain)
        install_libraries(folder, llvm / "usr", (sysroot, libcxx_artifact(toolchain)))
        program = folder / "usr" / "bin" / "cc"
        program.parent.mkdir()
        compile_driver(toolchain, llvm, sysroot, program)
        for name in TOOLS:
            program.with_name(name).symlink_to("cc")

    return toolchain.cache.obtain(NAME, c_digest(), make)


def install_libraries(folder: Path, llvm: Path, parts: Iterable[Path]) -> None:
    """Put headers, libraries and clang's own files below `usr`; of two libraries of one name the
    later part's counts.
    """
    for part in parts:
        shutil.copytree(part / "include", folder / "usr" / "include", dirs_exist_ok=True)
        shutil.copytree(part / "lib", folder / _LIBRARIES, dirs_exist_ok=True)
    clang = folder / "usr" / "lib" / "clang"
    _copy(
        (path for pattern in _CLANG_HEADERS for path in (llvm / "include").glob(pattern)),
        clang / "include",
    )
    builtins = Path("lib", "wasm32-unknown-wasip1", "libclang_rt.builtins.a")
    _copy([llvm / builtins], (clang / builtins).parent)
    (folder / _LIBRARIES / builtins.name).unlink(missing_ok=True)
    _copy([PART / CONFIGURATION], clang)


def compile_driver(toolchain: Toolchain, llvm: Path, sysroot: Path, program: Path) -> None:
    """Compile and link `cc`. CompileError."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as temporary:
        mounts = [
            HostMount(Path(temporary), "/work"),
            HostMount(PART, "/compiler", read_only=True),
            HostMount(sysroot, "/sysroot", read_only=True),
        ]
        service = Llvm(toolchain.home, llvm, mounts)
        try:
            sources = [path.stem for path in sorted(PART.glob("*.c"))]
            words = ("clang", "-c", *_COMPILE, *TARGET.compile)
            service.run_all(
                [(*words, f"/compiler/{it}.c", "-o", f"/work/{it}.o") for it in sources]
            )
            objects = [f"/work/{it}.o" for it in sources]
            link = ("wasm-ld", *TARGET.link, "--strip-all", *objects, *TARGET.libraries)
            service.check((*link, "-o", "/work/cc.wasm"))
        finally:
            service.close()
        shutil.copyfile(Path(temporary, "cc.wasm"), program)
        program.chmod(0o755)


def _copy(files: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.copyfile(path, folder / path.name)
