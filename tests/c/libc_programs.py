"""The programs of tests/c/libc, compiled for our C library and by the machine's own compiler.

They are ordinary C for Linux and know nothing of WebAssembly; what they print is compared.

Compiled programs lie in the tests' cache directory under the digest of all that they are made from.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from c.toolchain import cache_directory

from balenawasm.runtime.home import Home
from balenawasm.toolchain import musl
from balenawasm.toolchain.llvm import HostMount, Llvm
from balenawasm.toolchain.llvm_package import llvm_artifact
from balenawasm.toolchain.provider import Toolchain

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCES = Path(__file__).parent / "libc"
FLAGS = ("-std=gnu17", "-D_GNU_SOURCE", "-O1", "-w")
NATIVE_LIBRARIES = ("-lm", "-lcrypt", "-lpthread", "-lrt", "-ldl", "-lutil")


def program_names() -> list[str]:
    """The programs, by the names of their sources."""
    return sorted(path.stem for path in SOURCES.glob("*.c"))


def sysroot_llvm(*mounts: HostMount) -> Llvm:
    """LLVM with our C library at /sysroot; both are made when they are missing."""
    home = Home(cache_directory() / "home").create()
    toolchain = Toolchain(home, os.environ)
    sysroot = HostMount(musl.sysroot_artifact(toolchain), "/sysroot", read_only=True)
    return Llvm(home, llvm_artifact(toolchain), [sysroot, *mounts])


def link_words(objects: Sequence[str], target: str) -> list[str]:
    """The words that make a program of objects."""
    words = musl.TARGET
    return ["wasm-ld", *words.link, *objects, *words.libraries, "-o", target]


def digest_of_texts(*texts: bytes) -> str:
    """A name for what is made from texts."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text).digest())
    return digest.hexdigest()[:24]


class LibcPrograms:
    """Compiles programs for both sides. Make it with `ready`."""

    def __init__(self, cache: Path, llvm: Llvm) -> None:
        self._cache = cache
        self._llvm = llvm

    @classmethod
    def ready(cls) -> LibcPrograms:
        """LLVM and the sysroot, made when they are missing."""
        cache = cache_directory()
        work = cache / "work"
        work.mkdir(parents=True, exist_ok=True)
        sources = HostMount(SOURCES, "/libc", read_only=True)
        return cls(cache, sysroot_llvm(HostMount(work, "/work"), sources))

    def guest(self, name: str) -> Path:
        """The program for our C library."""
        target = self._target(name, "wasm", musl.sysroot_digest())
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=self._cache / "work") as folder:
                made = f"/work/{Path(folder).name}/program"
                source = [f"/libc/{name}.c", "-o", f"{made}.o"]
                self._llvm.check(["clang", "-c", *musl.TARGET.compile, *FLAGS, *source])
                self._llvm.check(link_words([f"{made}.o"], made))
                Path(folder, "program").rename(target)
        return target

    def native(self, name: str) -> Path:
        """The program for this machine."""
        target = self._target(name, "native", platform.platform())
        if not target.exists():
            words = ["cc", *FLAGS, str(SOURCES / f"{name}.c"), *NATIVE_LIBRARIES]
            with tempfile.TemporaryDirectory(dir=self._cache) as folder:
                made = Path(folder, "program")
                subprocess.run([*words, "-o", str(made)], check=True)
                made.rename(target)
        return target

    def _target(self, name: str, kind: str, made_with: str) -> Path:
        files = [(SOURCES / file).read_bytes() for file in (f"{name}.c", "say.h")]
        digest = digest_of_texts(str((FLAGS, made_with)).encode(), *files)
        folder = self._cache / "programs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}-{digest}.{kind}"


def make_root(root: Path, program: Path) -> None:
    """A root directory with what the programs look into; the program is /work/program."""
    work, etc = root / "work", root / "etc"
    for folder in (work, etc, root / "tmp"):
        folder.mkdir(parents=True)
    shutil.copy(program, work / "program")
    (work / "program").chmod(0o755)
    for name, text in FILES.items():
        (etc / name).write_text(text)
    for zone in ZONES:
        copy = root / "usr/share/zoneinfo" / zone
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("/usr/share/zoneinfo", zone), copy)


ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata")
FILES = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\n",
    "group": "root:x:0:\ndaemon:x:1:\n",
    "services": "ssh 22/tcp\nhttp 80/tcp www\n",
    "protocols": "ip 0 IP\ntcp 6 TCP\nudp 17 UDP\n",
}
