"""A C compiler for tests and benchmarks: clang 22 and wasi-libc, run by our own runtime.

The npm package `@yowasp/clang` holds LLVM as one WASI preview 1 program and a sysroot. It is
fetched once by version and digest, compiled to native code once (half a minute on two cores), and
then compiles a small C program in a tenth of a second. The other way, npm's JavaScript driver
under node, needs 2 s for each call, a second runtime, and cannot link (its driver may not spawn).

Everything lies in the user's cache directory, `~/.cache/balenawasm-tests` (or below
XDG_CACHE_HOME): the toolchain, and each program under the digest of all that it was made from. It
may be deleted at any time.

From benchmarks: put `tests` on `sys.path`, then `from c.toolchain import CToolchain`.

Locks: `lock` in the cache, exclusive while the toolchain is set up.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.atomicfile import file_lock
from balenawasm.build.npm_source import NpmDownloads, NpmPackage, NpmTree, parse_checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = "npm:@yowasp/clang@22.0.0-git20542-10#gen"
CHECKSUM = (
    "sha512-V31/z9GrJECKeACTDUyvg2llbEUiFi3bxtL5HSg7H"
    "/6sydSxdI/AoVAD9F5ozrfLjotWl0B9rghR87m+DUM/zg=="
)
COMMAND = Path(sys.executable).with_name("balenawasm")
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


class CompileError(AssertionError):
    """The compiler or the linker refused; its message is the text."""


@dataclass(frozen=True)
class _Silent:
    """A reporter of fetches that nobody reads."""

    def begin_fetch(self, what: str) -> None: ...

    def end_fetch(self, size: int) -> None: ...


def cache_directory() -> Path:
    """Where the toolchain and what it made are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "balenawasm-tests"


class CToolchain:
    """Compiles C programs to wasm32-wasip1. Make it with `ready`."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._folder = cache / f"clang-{parse_checksum(CHECKSUM)[:16]}"
        self.environment = {**os.environ, "BALENAWASM_HOME": str(cache / "home")}

    def is_set_up(self) -> bool:
        """Whether the toolchain has been fetched."""
        return self._folder.exists()

    @classmethod
    def ready(cls, cache: Path | None = None) -> CToolchain:
        """The toolchain, fetched and compiled to native code when that is missing."""
        toolchain = cls(cache or cache_directory())
        toolchain._cache.mkdir(parents=True, exist_ok=True)
        with file_lock(toolchain._cache / "lock"):
            if not toolchain.is_set_up():
                toolchain._fetch()
            # A new engine's first start compiles LLVM; the lock keeps others from doing so too.
            toolchain._run("clang", "--version")
        return toolchain

    def _fetch(self) -> None:
        downloads = NpmDownloads(self._cache / "downloads", dict(os.environ), _Silent())  # type: ignore[arg-type]
        package = NpmPackage.parse(PACKAGE)
        tarball, _ = downloads.fetch(package, parse_checksum(CHECKSUM))
        with tempfile.TemporaryDirectory(dir=self._cache) as temporary:
            scratch, folder = Path(temporary, "scratch"), Path(temporary, "clang")
            scratch.mkdir()
            tree = NpmTree(package, tarball, scratch)
            folder.mkdir()
            shutil.move(tree.content(b"gen/llvm.core.wasm"), folder / "llvm.wasm")
            with tarfile.open(tree.content(b"gen/llvm-resources.tar")) as archive:
                # What comes with Python 3.11.2 has no filters yet; the digest was checked above.
                filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                archive.extractall(folder / "usr", **filtered)
            folder.rename(self._folder)

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
        with tempfile.TemporaryDirectory(dir=self._cache) as temporary:
            work = Path(temporary)
            objects = [self._object(work, i, path, flags) for i, path in enumerate(paths)]
            start = f"{LIBRARIES}/crt1-command.o"
            arguments = (*LINK, start, *objects, *link_flags, *libraries, "-o", "/work/out.wasm")
            self._run("wasm-ld", *arguments, work=work)
            (work / "out.wasm").rename(target)
        return target

    def _object(self, work: Path, number: int, source: Path, flags: Sequence[str]) -> str:
        # Copied, so that messages and __FILE__ show the name alone.
        folder = work / str(number)
        folder.mkdir()
        shutil.copyfile(source, folder / source.name)
        path, out = f"/work/{number}/{source.name}", f"/work/{number}.o"
        self._run("clang", "-c", *flags, "-o", out, path, work=work)
        return out

    def _key(self, paths: Sequence[Path], options: Sequence[str], *, posix: bool) -> str:
        digest = hashlib.sha256("\0".join((CHECKSUM, *LINK, *options)).encode())
        headers = sorted((POSIX / "include").rglob("*.h")) if posix else []
        for path in (*paths, *headers):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:32]

    def _run(self, *words: str, work: Path | None = None) -> None:
        volumes = ["-v", f"{self._folder / 'usr'}:/usr:ro"]
        if work is not None:
            volumes += ["-v", f"{work}:/work"]
        if POSIX.exists():
            volumes += ["-v", f"{POSIX}:/posix:ro"]
        done = subprocess.run(
            [COMMAND, "run", *volumes, self._folder / "llvm.wasm", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode != 0:
            raise CompileError(f"{' '.join(words)}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    if not CToolchain(cache_directory()).is_set_up():
        print("tests: setting up a C compiler, once; it takes about a minute")
    CToolchain.ready()
