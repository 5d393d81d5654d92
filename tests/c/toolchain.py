"""A C compiler for tests and benchmarks: LLVM as a service of balenawasm.toolchain, with wasi-libc.

LLVM is fetched once into the user's artifacts, compiled to native code once (half a minute on two
cores), and then compiles a small C program in some hundredths of a second.

Everything else lies in `~/.cache/balenawasm-tests` (or below XDG_CACHE_HOME): LLVM's native code,
and each program under the digest of all that it was made from. It may be deleted at any time.

From benchmarks: put `tests` on `sys.path`, then `from c.toolchain import CToolchain`.

Locks: `lock` in the cache, exclusive while LLVM is set up.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.atomicfile import file_lock
from balenawasm.build.events import BuildEvent, WorkStarted
from balenawasm.runtime.home import Home
from balenawasm.toolchain.artifacts import ArtifactCache, artifact_folder
from balenawasm.toolchain.llvm import CompileError, HostMount, Llvm
from balenawasm.toolchain.llvm_package import CHECKSUM, llvm_digest, llvm_package
from balenawasm.toolchain.provider import Artifacts

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["POSIX", "PROGRAMS", "CToolchain", "CompileError"]

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
POSIX = HERE / "posix"
"""A thin C layer over our POSIX door: `compile(..., posix=True)`."""

LIBRARIES = "/usr/lib/wasm32-wasip1"
BUILTINS = "/usr/lib/wasm32-unknown-wasip1/libclang_rt.builtins.a"
COMPILE = ("-O2", "-std=gnu17", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror")
EXCEPTIONS = (
    "-fwasm-exceptions",
    "-mllvm",
    "-wasm-enable-sjlj",
    "-mllvm",
    "-wasm-use-legacy-eh=false",
)
"""setjmp and longjmp in the standard encoding of exceptions; the legacy one is refused."""
LINK = (
    "-m",
    "wasm32",
    f"-L{LIBRARIES}",
    "-z",
    "stack-size=1048576",
    "--stack-first",
    "--gc-sections",
)
LIBS = ("-lsetjmp", "-lwasi-emulated-process-clocks", "-lwasi-emulated-signal", "-lc", BUILTINS)
POSIX_LIBS = ("-lsetjmp", "-lc", BUILTINS)


def cache_directory() -> Path:
    """Where the toolchain and what it made are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "balenawasm-tests"


class CToolchain:
    """Compiles C programs to wasm32-wasip1. Make it with `ready`."""

    def __init__(self, cache: Path, llvm: Llvm) -> None:
        self._cache = cache
        self.work = cache / "work"
        self.home = cache / "home"
        self.llvm = llvm

    @classmethod
    def ready(cls, cache: Path | None = None) -> CToolchain:
        """The toolchain, fetched and compiled to native code when that is missing."""
        cache = cache or cache_directory()
        work = cache / "work"
        work.mkdir(parents=True, exist_ok=True)
        mounts = [HostMount(work, "/work")]
        if POSIX.exists():
            mounts.append(HostMount(POSIX, "/posix", read_only=True))
        with file_lock(cache / "lock"):
            folder = llvm_package(ArtifactCache(artifact_folder(os.environ)), os.environ)
            return cls(cache, Llvm(Home(cache / "home").create(), folder, mounts))

    def share_native_code(self, home: Path) -> None:
        """Give a state directory LLVM's native code."""
        source, target = (Home(root).create().native_code for root in (self.home, home))
        for file in source.glob("*/*.native"):
            folder = target / file.parent.name
            folder.mkdir(mode=0o700, exist_ok=True)
            for one in (file, file.with_suffix(".check")):
                with contextlib.suppress(FileExistsError):
                    os.link(one, folder / one.name)

    def compile(
        self,
        *sources: str | Path,
        flags: Sequence[str] = (),
        link_flags: Sequence[str] = (),
        exceptions: bool = True,
        posix: bool = False,
    ) -> Path:
        """The program made of C files (a bare name is one of tests/c/programs), as a host file.

        `exceptions` False leaves out setjmp. `posix` compiles for our POSIX door with the headers
        and the C layer in tests/c/posix. Raises CompileError with the compiler's words.
        """
        paths = [Path(s) if "/" in str(s) else PROGRAMS / s for s in sources]
        flags = (*COMPILE, *(EXCEPTIONS if exceptions else ()), *flags)
        libraries = POSIX_LIBS if posix else LIBS
        if posix:
            paths += sorted(POSIX.glob("*.c"))
            flags = (*flags, "-isystem", "/posix/include")
        key = self._key(paths, (*flags, "\0", *link_flags, "\0", *libraries), posix=posix)
        target = self._cache / "programs" / f"{key}.wasm"
        if target.exists():
            return target
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.work) as temporary:
            work = Path(temporary)
            objects = [self._object(work, i, path, flags) for i, path in enumerate(paths)]
            start, out = f"{LIBRARIES}/crt1-command.o", f"/work/{work.name}/out.wasm"
            arguments = (*LINK, start, *objects, *link_flags, *libraries, "-o", out)
            self.llvm.check(("wasm-ld", *arguments))
            (work / "out.wasm").rename(target)
        return target

    def _object(self, work: Path, number: int, source: Path, flags: Sequence[str]) -> str:
        # Copied, so that messages and __FILE__ show the name alone.
        folder = work / str(number)
        folder.mkdir()
        shutil.copyfile(source, folder / source.name)
        place = f"/work/{work.name}/{number}"
        out = f"{place}.o"
        words = (*flags, f"-ffile-prefix-map=/work/{work.name}=/work")
        self.llvm.check(("clang", "-c", *words, "-o", out, f"{place}/{source.name}"))
        return out

    def _key(self, paths: Sequence[Path], options: Sequence[str], *, posix: bool) -> str:
        digest = hashlib.sha256("\0".join((CHECKSUM, *LINK, *options)).encode())
        headers = sorted((POSIX / "include").rglob("*.h")) if posix else []
        for path in (*paths, *headers):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:32]


def _tell(event: BuildEvent) -> None:
    if isinstance(event, WorkStarted):
        print(f"tests: {event.what}", flush=True)


if __name__ == "__main__":
    if ArtifactCache(artifact_folder(os.environ)).find("llvm", llvm_digest()) is None:
        print("tests: setting up a C compiler, once; it takes about a minute")
    home = CToolchain.ready().home
    artifacts = Artifacts(Home(home), os.environ)
    for name in ("c", "make", "busybox"):
        artifacts.folder(name, _tell)
