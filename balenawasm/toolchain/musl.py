"""The C library: musl for wasm32 over the POSIX door, as a sysroot. See libc/README.md.

musl's sources come from Debian's source package; our part is `libc/` in this repository. Both are
laid over each other in one tree: a file of ours replaces musl's file of the same path, which is the
whole difference from musl. What is replaced stays within reach as <upstream/HEADER>, and for
sources as upstream/NAME beside ours. The tree is compiled with LLVM in this process (`llvm`), into
the artifact `sysroot`:

    include/   musl's headers and ours
    lib/       crt1.o, libc.a and the empty archives that musl has for other names (libm.a ...);
               and what comes ready-made with LLVM: libsetjmp.a, libclang_rt.builtins.a
    share/     musl's licence
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.record import NamedTuple
from balenawasm.toolchain.artifacts import digest_of
from balenawasm.toolchain.debian_source import DebianSource, fetch_source, unpack_source
from balenawasm.toolchain.llvm import HostMount, Llvm
from balenawasm.toolchain.llvm_package import llvm_artifact, llvm_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest
    from balenawasm.toolchain.provider import Toolchain

_SHA256: Final = "7d5b0b6062521e4627e099e4c9dc8248d32a30285e959b7eecaa780cf8cfd4a4"
SOURCE: Final = DebianSource(
    "musl",
    "1.2.3-1",
    {"musl_1.2.3.orig.tar.gz": _SHA256},
)
PART: Final = Path(__file__).parents[2] / "libc"
NAME: Final = "sysroot"

_EXCEPTIONS: Final = (
    "-fwasm-exceptions",
    "-mllvm",
    "-wasm-enable-sjlj",
    "-mllvm",
    "-wasm-use-legacy-eh=false",
)
"""setjmp and longjmp in the final encoding of exceptions: the engine refuses the older one."""


class Target(NamedTuple):
    """How programs are made for the sysroot, which guests of `llvm` find at /sysroot."""

    compile: tuple[str, ...]
    """Words for clang. clang's own headers, in /usr/include, come after musl's."""
    link: tuple[str, ...]
    """Words for wasm-ld before the objects; with the start file."""
    libraries: tuple[str, ...]
    """Words for wasm-ld after the objects."""


TARGET: Final = Target(
    compile=(
        "--target=wasm32-wasip1",
        "-U__wasi__",
        "-D__linux__=1",
        "-D__linux=1",
        "-D__unix__=1",
        "-D__unix=1",
        "-nostdinc",
        "-isystem",
        "/sysroot/include",
        "-isystem",
        "/usr/include",
        *_EXCEPTIONS,
    ),
    link=(
        "-m",
        "wasm32",
        "-L/sysroot/lib",
        "-z",
        "stack-size=1048576",
        "--stack-first",
        # Functions' addresses begin above SIG_IGN and SIG_HOLD.
        "--table-base=3",
        "--gc-sections",
        "/sysroot/lib/crt1.o",
    ),
    libraries=("-lsetjmp", "-lc", "-lclang_rt.builtins"),
)

_FLAGS: Final = (
    "--target=wasm32-wasip1",
    "-O2",
    "-std=gnu11",
    "-ffreestanding",
    "-nostdinc",
    "-fno-strict-aliasing",
    "-w",
    "-Werror=implicit-function-declaration",
    "-Werror=incompatible-function-pointer-types",
    "-D_XOPEN_SOURCE=700",
    "-U__wasi__",
    "-I/work/arch/wasm32",
    "-I/work/arch/generic",
    "-I/work/src/include",
    "-I/work/src/internal",
    "-I/work/include",
    *_EXCEPTIONS,
)
_SOURCES: Final = ("src/*/*.c", "src/malloc/mallocng/*.c")
_EMPTY: Final = ("m", "rt", "pthread", "crypt", "util", "xnet", "resolv", "dl")
_READY_MADE: Final = (
    "wasm32-wasip1/libsetjmp.a",
    "wasm32-unknown-wasip1/libclang_rt.builtins.a",
)
_BORROWED: Final = (
    # long double has 128 bits, and system calls have the generic numbers.
    ("arch/aarch64/bits/float.h", "arch/wasm32/bits/float.h"),
    ("arch/riscv64/bits/syscall.h.in", "arch/wasm32/bits/syscall.h.in"),
)
_BATCH: Final = 200
_TYPE: Final = re.compile(r"^TYPEDEF (.*) ([^ ]*);$")
_RECORD: Final = re.compile(r"^(STRUCT|UNION) +([^ ]*) (.*);$")
_NUMBER: Final = re.compile(r"^#define __NR_(\w+)\s+(\d+)$", re.MULTILINE)


def sysroot_digest() -> Digest:
    """Return the digest that names the artifact."""
    texts = (str(SOURCE), *SOURCE.files.values(), *_FLAGS, *_SOURCES, *_EMPTY, *_READY_MADE)
    parts = [PART / name for name in ("arch", "crt", "include", "src")]
    return digest_of(llvm_digest(), *texts, *parts, "2")


def sysroot_artifact(toolchain: Toolchain) -> Path:
    """Return the sysroot's folder, made if it is missing: two minutes and a download.

    Raises ToolchainError, NpmError, EngineError.
    """

    def make(folder: Path, reporter: Reporter) -> None:
        llvm = llvm_artifact(toolchain)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as temporary:
            tree = Path(temporary, "tree")
            make_tree(tree, toolchain.cache.downloads, toolchain.environment, reporter)
            service = Llvm(toolchain.home, llvm, [HostMount(tree, "/work")])
            try:
                compile_tree(service, tree, reporter)
            finally:
                service.close()
            install(tree, llvm, folder)

    return toolchain.cache.obtain(NAME, sysroot_digest(), make)


def make_tree(
    tree: Path, downloads: Path, environment: Mapping[str, str], reporter: Reporter
) -> None:
    """Lay musl's sources and ours over each other in a new folder."""
    (name,) = SOURCE.files
    unpack_source(fetch_source(SOURCE, downloads, environment, reporter)[name], tree)
    for source, target in _BORROWED:
        (tree / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / source, tree / target)
    for header in _below(PART / "include"):
        _keep(tree / "include" / header, tree / "include" / "upstream" / header)
    for ours in _below(PART / "src"):
        path = tree / "src" / ours
        _keep(path, path.parent / "upstream" / path.name)
    for folder in (path for path in PART.iterdir() if path.is_dir()):
        shutil.copytree(folder, tree / folder.name, dirs_exist_ok=True)
    _generate_headers(tree)


def _below(folder: Path) -> Iterator[Path]:
    return (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())


def _keep(original: Path, place: Path) -> None:
    """Put a file of musl aside that ours replaces, so that ours can include it."""
    if original.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        original.rename(place)


def _generate_headers(tree: Path) -> None:
    arch, bits = tree / "arch" / "wasm32" / "bits", tree / "include" / "bits"
    bits.mkdir()
    types = (arch / "alltypes.h.in").read_text() + (tree / "include/alltypes.h.in").read_text()
    (bits / "alltypes.h").write_text("".join(_type_of(line) for line in types.splitlines()))
    calls = _NUMBER.findall((arch / "syscall.h.in").read_text())
    lines = [f"#define {prefix}{n} {v}\n" for prefix in ("__NR_", "SYS_") for n, v in calls]
    (bits / "syscall.h").write_text("".join(lines))
    version = (tree / "VERSION").read_text().strip()
    (tree / "src/internal/version.h").write_text(f'#define VERSION "{version}"\n')


def _type_of(line: str) -> str:
    """Return what a line of alltypes.h.in defines, once, for whoever has asked for it by
    `__NEED_NAME`.
    """
    if found := _TYPE.match(line):
        name, text = found[2], f"typedef {found[1]} {found[2]};"
    elif found := _RECORD.match(line):
        kind = found[1].lower()
        name, text = f"{kind}_{found[2]}", f"{kind} {found[2]} {found[3]};"
    else:
        return f"{line}\n"
    return (
        f"#if defined(__NEED_{name}) && !defined(__DEFINED_{name})\n"
        f"{text}\n#define __DEFINED_{name}\n#endif\n\n"
    )


def jobs_of(tree: Path) -> dict[str, tuple[str, ...]]:
    """Return clang's words for each source of a tree, by its path in it. The object of
    `src/a/b.c` is `obj/src_a_b.o`.
    """
    (tree / "obj").mkdir(exist_ok=True)
    paths = sorted(path for pattern in _SOURCES for path in tree.glob(pattern))
    names = [path.relative_to(tree).as_posix() for path in (*paths, tree / "crt" / "crt1.c")]
    return {
        name: ("clang", "-c", *_FLAGS, f"/work/{name}", "-o", f"/work/{object_of(name)}")
        for name in names
    }


def object_of(source: str) -> str:
    """Return the path of a source's object in the tree."""
    return f"obj/{source.removesuffix('.c').replace('/', '_')}.o"


def compile_tree(llvm: Llvm, tree: Path, reporter: Reporter | None = None) -> None:
    """Compile the tree that `llvm` has at /work, and make obj/libc.a. CompileError."""
    jobs = jobs_of(tree)
    llvm.run_all(list(jobs.values()), reporter)
    archive(llvm, tree, [name for name in jobs if name.startswith("src/")])


def archive(llvm: Llvm, tree: Path, sources: list[str]) -> None:
    """Make obj/libc.a of the objects of these sources."""
    (tree / "obj/libc.a").unlink(missing_ok=True)
    objects = [f"/work/{object_of(name)}" for name in sources]
    for start in range(0, len(objects), _BATCH):
        llvm.check(["ar", "rcS", "/work/obj/libc.a", *objects[start : start + _BATCH]])
    llvm.check(["ranlib", "/work/obj/libc.a"])


def install(tree: Path, llvm: Path, folder: Path) -> None:
    """Put the sysroot together in a folder, from a compiled tree and LLVM's artifact."""
    include, lib = folder / "include", folder / "lib"
    shutil.copytree(tree / "include", include, ignore=shutil.ignore_patterns("*.in"))
    for arch in ("generic", "wasm32"):
        bits = tree / "arch" / arch / "bits"
        ignore = shutil.ignore_patterns("*.in")
        shutil.copytree(bits, include / "bits", dirs_exist_ok=True, ignore=ignore)
    lib.mkdir()
    licences = folder / "share" / "licenses" / "musl"
    licences.mkdir(parents=True)
    shutil.copyfile(tree / "COPYRIGHT", licences / "COPYRIGHT")
    shutil.copyfile(tree / object_of("crt/crt1.c"), lib / "crt1.o")
    shutil.copyfile(tree / "obj" / "libc.a", lib / "libc.a")
    for name in _EMPTY:
        (lib / f"lib{name}.a").write_bytes(b"!<arch>\n")
    for path in _READY_MADE:
        shutil.copyfile(llvm / "usr" / "lib" / path, lib / Path(path).name)
