"""The C++ library as an artifact: libc++, libc++abi and libunwind, built with our C library.

    include/c++/v1    libc++'s headers, with our `__config_site` (compiler/)
    lib/              libc++.a, libc++abi.a with libunwind in it

Exceptions are WebAssembly's own, in the final encoding. What ends a program for an exception that
nobody catches says the type as the compiler writes it (`c++filt` reads it): the other form would
add 100 kB to every program.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.toolchain.artifacts import digest_of
from balenawasm.toolchain.libcxx_source import CHECKSUM, unpack_libcxx
from balenawasm.toolchain.llvm import HostMount, Llvm
from balenawasm.toolchain.llvm_package import llvm_artifact, llvm_digest
from balenawasm.toolchain.musl import PART as C_LIBRARY
from balenawasm.toolchain.musl import SOURCE, TARGET, sysroot_artifact

if TYPE_CHECKING:
    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest
    from balenawasm.toolchain.provider import Toolchain

NAME: Final = "libcxx"
PART: Final = Path(__file__).parents[2] / "compiler" / "libcxx"

_SITE: Final = "__config_site"
_INCLUDE: Final = (
    "-isystem", "/work/libcxx/include", "-isystem", "/work/libcxxabi/include",
    "-I/work/libcxx/src", "-I/work/libcxx/libc", "-I/work/libunwind/include",
)  # fmt: skip
_FLAGS: Final = (
    "-Os", "-w", "-fno-strict-aliasing", "-fvisibility-inlines-hidden",
    "-D_GNU_SOURCE", "-DNDEBUG", "-DLIBC_NAMESPACE=__llvm_libc_common_utils",
    "-D_LIBCPP_BUILDING_LIBRARY", "-DLIBCXX_BUILDING_LIBCXXABI", "-D_LIBCXXABI_BUILDING_LIBRARY",
    "-D_LIBCPP_REMOVE_TRANSITIVE_INCLUDES",
    "-DLIBCXXABI_NON_DEMANGLING_TERMINATE", "-D_LIBUNWIND_HIDE_SYMBOLS",
)  # fmt: skip
_CXX: Final = ("-std=c++23",)
_LIBRARIES: Final = {
    "libc++.a": ("libcxx/src/*.cpp", "libcxx/src/filesystem/*.cpp", "libcxx/src/ryu/*.cpp"),
    # clang does not name libunwind when it links; what there is of it for WebAssembly is one file.
    "libc++abi.a": ("libcxxabi/src/*.cpp", "libunwind/src/Unwind-wasm.c", "own/*.s"),
}
_INCLUDED: Final = {
    "libcxxabi/src/cxa_exception.cpp": ("-include", "/work/own/call_main.h"),
}
_LEFT_OUT: Final = (
    # libc++abi has these as well.
    "libcxx/src/new.cpp",
    # For programs without exceptions.
    "libcxxabi/src/cxa_noexception.cpp",
)


def libcxx_digest() -> Digest:
    """Return the digest that names the artifact. Of the C library only the headers count."""
    headers: tuple[str | Path, ...] = (*SOURCE.files.values(), C_LIBRARY / "arch")
    patterns = [pattern for patterns in _LIBRARIES.values() for pattern in patterns]
    words = (*_INCLUDE, *_FLAGS, *_CXX, *_LIBRARIES, *patterns, *_LEFT_OUT, *TARGET.compile)
    return digest_of(llvm_digest(), *headers, C_LIBRARY / "include", CHECKSUM, *words, PART, "1")


def libcxx_artifact(toolchain: Toolchain) -> Path:
    """Return the artifact's folder, made if it is missing. ToolchainError, NpmError, EngineError.

    It takes a minute, and a download of 100 MB of which little is used.
    """

    def make(folder: Path, reporter: Reporter) -> None:
        llvm, sysroot = llvm_artifact(toolchain), sysroot_artifact(toolchain)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as temporary:
            tree = Path(temporary)
            unpack_libcxx(tree, toolchain.cache.downloads, toolchain.environment, reporter)
            shutil.copytree(PART, tree / "own")
            shutil.copyfile(PART / _SITE, tree / "libcxx" / "include" / _SITE)
            mounts = [HostMount(tree, "/work"), HostMount(sysroot, "/sysroot", read_only=True)]
            service = Llvm(toolchain.home, llvm, mounts)
            try:
                compile_libraries(service, tree, reporter)
            finally:
                service.close()
            shutil.copytree(tree / "libcxx" / "include", folder / "include" / "c++" / "v1")
            (folder / "lib").mkdir()
            for name in _LIBRARIES:
                shutil.copyfile(tree / name, folder / "lib" / name)

    return toolchain.cache.obtain(NAME, libcxx_digest(), make)


def compile_libraries(llvm: Llvm, tree: Path, reporter: Reporter) -> None:
    """Compile the tree that `llvm` has at /work, and make the libraries at its top.

    Raises CompileError.
    """
    objects: dict[str, list[str]] = {}
    jobs = []
    for library, patterns in _LIBRARIES.items():
        paths = sorted(path for pattern in patterns for path in tree.glob(pattern))
        for path in paths:
            source = path.relative_to(tree).as_posix()
            if source in _LEFT_OUT:
                continue
            made = f"/work/{source.replace('/', '_')}.o"
            objects.setdefault(library, []).append(made)
            jobs.append(_words(source, made))
    llvm.run_all(jobs, reporter)
    for library, made_of in objects.items():
        llvm.check(("ar", "rcs", f"/work/{library}", *made_of))


def _words(source: str, made: str) -> tuple[str, ...]:
    cxx = source.endswith(".cpp")
    # libc++'s headers come before the C library's.
    include = _INCLUDE if cxx else _INCLUDE[-1:]
    own = f"-I/work/{source.rpartition('/')[0]}"
    kernel = ("-idirafter", "/work/own")
    include = (*include, *_INCLUDED.get(source, ()))
    words = (*_FLAGS, *(_CXX if cxx else ()), *include, own, *TARGET.compile, *kernel)
    return ("clang++" if cxx else "clang", "-c", *words, f"/work/{source}", "-o", made)
