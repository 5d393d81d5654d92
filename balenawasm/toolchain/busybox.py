"""BusyBox as an artifact: the module, and a tree with its applets as symbolic links.

    rootfs/bin/busybox      the module
    rootfs/bin/cat …        links to /bin/busybox, where BusyBox installs its applets
    applets                 their names, one a line

BusyBox's own make decides what is compiled and makes the generated headers. Its compiler is a
script that notes down each command; LLVM then runs them, in this process and on all processors. So
no compiler is started 600 times, and none of the questions that a configure step asks a native
compiler is answered for the wrong machine.

Headers of the Linux kernel (`linux/`, `mtd/`) are those of the host, which its C compiler needs as
well; they are an interface that does not change.
"""

from __future__ import annotations

import posixpath
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.toolchain.artifacts import digest_of
from balenawasm.toolchain.busybox_source import (
    BusyBoxError,
    configure,
    run_make,
    source_digest,
    unpack_busybox,
)
from balenawasm.toolchain.llvm import HostMount, Llvm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest
    from balenawasm.runtime.home import Home
    from balenawasm.toolchain.artifacts import ArtifactCache

NAME: Final = "busybox"
_PROGRAM: Final = "/bin/busybox"
_KERNEL_HEADERS: Final = Path("/usr/include")
_KERNEL_FOLDERS: Final = ("linux", "asm-generic", "mtd")

_COMPILE: Final = (
    "-working-directory=/work",
    "-std=gnu99",
    "-Os",
    "-funsigned-char",
    # BusyBox has its own of these, as its makefiles say.
    "-fno-builtin-printf",
    "-fno-builtin-strlen",
    "-w",
    "-idirafter",
    "/kernel",
)
_LINK: Final = ("--gc-sections", "--strip-all")

_RECORDER: Final = """\
#!/bin/sh
# Stands for the compiler: notes what it is asked to compile, and knows no optional flag.
out=
previous=
for word; do
	case $previous in -o) out=$word ;; esac
	case $word in -Wp,-MD,*) : >"${word#-Wp,-MD,}" ;; esac
	previous=$word
done
case $out in
*.o) printf '%s\\0' "$@" >"$out.words" ;;
*) exit 1 ;;
esac
"""


class Target(NamedTuple):
    """What programs are compiled and linked for: our C library."""

    folder: Path
    """The sysroot on the host; guests see it at /sysroot."""
    compile_flags: Sequence[str]
    link_words: Sequence[str]
    """For wasm-ld, before the objects; with the start file."""
    libraries: Sequence[str]
    """For wasm-ld, after the objects."""


def busybox_digest(target_digest: Digest) -> Digest:
    """Return the digest that names the artifact; `target_digest` is LLVM's and the sysroot's."""
    version = _KERNEL_HEADERS / "linux" / "version.h"
    kernel = version.read_text(encoding="utf-8") if version.exists() else ""
    return digest_of(source_digest(), target_digest, *_COMPILE, *_LINK, _RECORDER, kernel, "1")


def build_busybox(
    cache: ArtifactCache,
    home: Home,
    llvm: Path,
    target: Target,
    target_digest: Digest,
    environment: Mapping[str, str],
) -> Path:
    """Return the artifact's folder, built if it is missing: about two minutes on two cores.

    `llvm` is the artifact of LLVM, `home` keeps its native code. Raises ToolchainError, and
    BusyBoxError when the host lacks make, a C compiler or the kernel's headers.
    """

    def make(folder: Path, reporter: Reporter) -> None:
        source, kernel = folder / "source", folder / "kernel"
        unpack_busybox(source, cache.downloads, environment, reporter)
        configure(source, environment)
        _copy_kernel_headers(kernel)
        commands = _record(source, environment)
        links = (source / "busybox.links").read_text(encoding="utf-8").split()
        mounts = (
            HostMount(source, "/work"),
            HostMount(kernel, "/kernel", read_only=True),
            HostMount(target.folder, "/sysroot", read_only=True),
        )
        service = Llvm(home, llvm, mounts)
        try:
            service.run_all(
                [["clang", *target.compile_flags, *_COMPILE, *words] for words in commands],
                reporter,
            )
            objects = [f"/work/{_output(words)}" for words in commands]
            service.check(
                [
                    "wasm-ld",
                    *target.link_words,
                    *_LINK,
                    *objects,
                    *target.libraries,
                    "-o",
                    "/work/busybox.wasm",
                ]
            )
        finally:
            service.close()
        _install(source / "busybox.wasm", links, folder)
        for leftover in (source, kernel):
            shutil.rmtree(leftover)

    return cache.obtain(NAME, busybox_digest(target_digest), make)


def _record(source: Path, environment: Mapping[str, str]) -> list[list[str]]:
    """Run BusyBox's make with the recorder; returns the compiler's commands, without make's own
    dependency files.
    """
    recorder = source / "recorder"
    recorder.write_text(_RECORDER, encoding="utf-8")
    recorder.chmod(0o755)
    run_make(
        source,
        [
            f"CC={recorder}",
            *(f"{tool}=:" for tool in ("AR", "LD", "OBJCOPY", "STRIP")),
            "cmd_busybox__=:",
            "busybox_unstripped",
            "busybox.links",
        ],
        environment,
    )
    commands = []
    for note in sorted(source.rglob("*.o.words")):
        words = note.read_text(encoding="utf-8").split("\0")[:-1]
        commands.append([word for word in words if not word.startswith("-Wp,")])
    if not commands:
        raise BusyBoxError("BusyBox's make did not compile anything")
    return commands


def _output(words: Sequence[str]) -> str:
    return words[words.index("-o") + 1]


def _copy_kernel_headers(target: Path) -> None:
    """Gather the kernel's headers without those of the host's C library. `asm` is the generic one:
    that is what the door's numbers are.
    """
    try:
        for name in _KERNEL_FOLDERS:
            shutil.copytree(_KERNEL_HEADERS / name, target / name)
    except (FileNotFoundError, shutil.Error) as error:
        raise BusyBoxError(
            f"BusyBox is compiled with the kernel's headers, which are missing: {error}",
            hint="install Debian's package linux-libc-dev",
        ) from error
    asm = target / "asm"
    asm.mkdir()
    for header in (target / "asm-generic").iterdir():
        (asm / header.name).write_text(f"#include <asm-generic/{header.name}>\n", encoding="utf-8")
    (asm / "byteorder.h").write_text(
        "#include <linux/byteorder/little_endian.h>\n", encoding="utf-8"
    )


def _install(module: Path, links: Sequence[str], folder: Path) -> None:
    """Lay out the tree; `links` are absolute paths."""
    rootfs = folder / "rootfs"
    program = rootfs / _PROGRAM.lstrip("/")
    program.parent.mkdir(parents=True)
    shutil.move(module, program)
    program.chmod(0o755)
    for link in links:
        path = rootfs / link.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(_PROGRAM)
    names = sorted({posixpath.basename(link) for link in links})
    (folder / "applets").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
