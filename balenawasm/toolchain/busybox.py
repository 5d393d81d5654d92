"""BusyBox as an artifact: the module, and a tree with its applets as symbolic links.

    rootfs/bin/busybox      the module
    rootfs/bin/cat …        links to /bin/busybox, where BusyBox installs its applets
    rootfs/usr/share/licenses/busybox/LICENSE
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
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.toolchain.artifacts import digest_of
from balenawasm.toolchain.busybox_source import (
    BusyBoxError,
    configure,
    run_make,
    source_digest,
    unpack_busybox,
)
from balenawasm.toolchain.llvm import HostMount, Llvm
from balenawasm.toolchain.llvm_package import llvm_artifact
from balenawasm.toolchain.musl import TARGET, sysroot_artifact, sysroot_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest
    from balenawasm.toolchain.provider import Toolchain

NAME: Final = "busybox"
_PROGRAM: Final = "/bin/busybox"
_KERNEL_HEADERS: Final = Path("/usr/include")
_KERNEL_FOLDERS: Final = ("linux", "asm-generic", "mtd")

_COMPILE: Final = (
    "-working-directory=/work",
    "-std=gnu99",
    "-O2",
    "-funsigned-char",
    # BusyBox has its own of these, as its makefiles say.
    "-fno-builtin-printf",
    "-fno-builtin-strlen",
    "-w",
    "-idirafter",
    "/kernel",
)
_LINK: Final = ("--strip-all",)

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


def busybox_digest() -> Digest:
    """Return the digest that names the artifact."""
    version = _KERNEL_HEADERS / "linux" / "version.h"
    kernel = version.read_text(encoding="utf-8") if version.exists() else ""
    words = (*_COMPILE, *_LINK, *TARGET.compile, *TARGET.link, *TARGET.libraries)
    return digest_of(source_digest(), sysroot_digest(), *words, _RECORDER, kernel, "2")


def busybox_artifact(toolchain: Toolchain) -> Path:
    """Return the artifact's folder, built if it is missing: two minutes on two cores, and first
    what it needs.

    Raises ToolchainError, NpmError, EngineError, and BusyBoxError when the host lacks make, a C
    compiler or the kernel's headers.
    """

    def make(folder: Path, reporter: Reporter) -> None:
        llvm, sysroot = llvm_artifact(toolchain), sysroot_artifact(toolchain)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as temporary:
            tree = Path(temporary)
            commands = make_tree(tree, toolchain.cache.downloads, toolchain.environment, reporter)
            service = Llvm(toolchain.home, llvm, mounts_of(tree, sysroot))
            try:
                service.run_all([compiling(words) for words in commands], reporter)
                service.check(linking(commands))
            finally:
                service.close()
            source = tree / "source"
            links = (source / "busybox.links").read_text(encoding="utf-8").split()
            lay_out(source / "busybox.wasm", links, folder)
            license_ = folder / "rootfs" / "usr" / "share" / "licenses" / "busybox" / "LICENSE"
            license_.parent.mkdir(parents=True)
            shutil.copyfile(source / "LICENSE", license_)

    return toolchain.cache.obtain(NAME, busybox_digest(), make)


def make_tree(
    tree: Path, downloads: Path, environment: Mapping[str, str], reporter: Reporter
) -> list[list[str]]:
    """Make `source` and `kernel` in a folder; returns what to compile, as words for clang."""
    source = tree / "source"
    unpack_busybox(source, downloads, environment, reporter)
    configure(source, environment)
    _copy_kernel_headers(tree / "kernel")
    return _record(source, environment)


def mounts_of(tree: Path, sysroot: Path) -> tuple[HostMount, ...]:
    """Return what LLVM must see to run `compiling` and `linking`."""
    return (
        HostMount(tree / "source", "/work"),
        HostMount(tree / "kernel", "/kernel", read_only=True),
        HostMount(sysroot, "/sysroot", read_only=True),
    )


def compiling(words: Sequence[str]) -> list[str]:
    """Return the command that compiles one file."""
    return ["clang", *TARGET.compile, *_COMPILE, *words]


def linking(commands: Sequence[Sequence[str]]) -> list[str]:
    """Return the command that links what was compiled to /work/busybox.wasm."""
    objects = [f"/work/{words[words.index('-o') + 1]}" for words in commands]
    end = (*TARGET.libraries, "-o", "/work/busybox.wasm")
    return ["wasm-ld", *TARGET.link, *_LINK, *objects, *end]


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


def lay_out(program: Path, links: Sequence[str], folder: Path) -> None:
    """Make `rootfs` and `applets` in a folder of a program, which is moved there, and the absolute
    paths of its links.
    """
    rootfs = folder / "rootfs"
    target = rootfs / _PROGRAM.lstrip("/")
    target.parent.mkdir(parents=True)
    shutil.move(program, target)
    target.chmod(0o755)
    for link in links:
        path = rootfs / link.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(_PROGRAM)
    names = sorted({posixpath.basename(link) for link in links})
    (folder / "applets").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
