"""Native code of programs, compiled once and kept: `<root>/<engine key>/<sha256 of the
module>.native`.

Beside each file stands `<sha256>.check`, one line `<size> <sha256 of the native code>`; native code
without it does not count, so it is written last. `identities/<sha256 of Content.identity>` holds
the module's sha256, so that programs inside immutable layers are hashed only once; content that may
change is hashed each time. `<sha256>.lock` makes the compilation of one module happen once, however
many processes want it. docs/adr/0002-native-code-cache.md says why.

Native code is trusted like an executable. So the directory is ours and nobody else's (0700), and
each file is looked at before each use: ours, regular, writable by us only, of the size on record.
`verify` reads all of it. What fails is compiled anew.

The module that is compiled is a private copy: a guest that can write the file cannot change it
between hashing and compiling, and so cannot put its code in another program's place. At most
COMPILATIONS_MAX compilations run at once for one process, since guests start them, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
import time
from typing import TYPE_CHECKING, Final

from balenawasm.atomicfile import TEMPORARY_PREFIX, pending_file, write_atomic
from balenawasm.digest import hex_of, new_sha256, sha256, sha256_file, sha256_hex
from balenawasm.engine.compiler import CompileProgress, NativeCode, Progress, compile_module
from balenawasm.engine.configuration import engine_key
from balenawasm.engine.library import EngineError
from balenawasm.engine.program_file import check_preamble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from balenawasm.vfs.node import Content

COMPILATIONS_MAX: Final = 2
"""Each uses all processors, and ten times the module's memory."""
_SUFFIX: Final = ".native"
_CHECK_SUFFIX: Final = ".check"
_LOCK_SUFFIX: Final = ".lock"
_IDENTITIES: Final = "identities"
_USE_LOCK: Final = "use.lock"
_RETRY_SECONDS: Final = 0.05
_CHUNK: Final = 1 << 20
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class CodeCacheError(EngineError):
    """The cache's directory cannot be used: not ours, read-only or full."""


class CodeCache:
    """One cache directory. Many processes and threads may share it."""

    def __init__(self, root: Path, *, niceness: int = 0) -> None:
        self._root = root
        self._niceness = niceness
        self._directory = root / engine_key()
        self._identities = root / _IDENTITIES
        self._known: dict[str, str] = {}
        self._prepared = False
        self._slots = threading.BoundedSemaphore(COMPILATIONS_MAX)

    def compiled(
        self,
        content: Content,
        progress: Progress | None = None,
        *,
        name: str = "the program",
    ) -> Path:
        """The native code of a program, compiled now if need be; blocks until it is there.

        `progress` is called about ten times a second while it waits; what it raises ends the
        compilation. Raises NotAProgramError,
        InvalidModuleError, CompileError (the compiler died, no space) and CodeCacheError; then
        nothing is left behind. `name` is for messages.
        """
        self._prepare()
        module = self.module_of(content, name=name)
        path = self._path(module)
        if self._usable(path):
            return path
        check_preamble(content.data, name)
        return self._compile(content, name, progress)

    def module_of(self, content: Content, *, name: str = "the program") -> str:
        """The sha256 of a program in hex, from the memory or the memo where its identity allows."""
        identity = content.identity
        if identity is None:
            return hex_of(sha256(content.data))
        known = self._known.get(identity) or self._recall(identity)
        if known is None:
            check_preamble(content.data, name)
            known = hex_of(sha256(content.data))
        self._known[identity] = known
        return known

    def discard(self, path: Path) -> None:
        """Forget one file of native code, because the engine refused it."""
        with _explained(self._directory):
            path.with_suffix(_CHECK_SUFFIX).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def verify(self) -> list[Path]:
        """Read all native code of this engine; returns the files that are damaged or not trusted,
        which are removed.
        """
        self._prepare()
        damaged = []
        for path in sorted(self._directory.glob("*" + _SUFFIX)):
            recorded = self._record_of(path)
            if not self._usable(path) or recorded != NativeCode(
                path.stat().st_size, hex_of(sha256_file(path))
            ):
                damaged.append(path)
                self.discard(path)
        return damaged

    # Looking.

    def _path(self, module: str) -> Path:
        return self._directory / (module + _SUFFIX)

    def _record_of(self, path: Path) -> NativeCode | None:
        try:
            size, digest = path.with_suffix(_CHECK_SUFFIX).read_text().split()
            return NativeCode(int(size), digest)
        except (OSError, ValueError):
            return None

    def _usable(self, path: Path) -> bool:
        """Tell whether the file may be loaded: complete, and nobody else could have written it."""
        try:
            found = path.lstat()
        except OSError:
            return False
        record = self._record_of(path)
        return (
            record is not None
            and record.size == found.st_size
            and stat.S_ISREG(found.st_mode)
            and found.st_uid == os.geteuid()
            and not found.st_mode & _OTHERS_WRITE
        )

    def _memo(self, identity: str) -> Path:
        return self._identities / sha256_hex(identity.encode())

    def _recall(self, identity: str) -> str | None:
        try:
            module = self._memo(identity).read_text()
        except OSError:
            return None
        return module if len(module) == 64 and set(module) <= set("0123456789abcdef") else None

    def _remember(self, identity: str, module: str) -> None:
        if self._recall(identity) != module:
            with _explained(self._identities):
                write_atomic(self._memo(identity), module.encode(), mode=0o600)

    def _prepare(self) -> None:
        """Make the directories, and make sure that they are private."""
        if self._prepared:
            return
        for directory in (self._root, self._directory, self._identities):
            with _explained(directory):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                found = directory.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                    raise CodeCacheError(
                        f"the native code cache {directory} belongs to another user "
                        f"(uid {found.st_uid})",
                        hint="run as that user, or name another state directory",
                    )
                if stat.S_IMODE(found.st_mode) != 0o700:
                    directory.chmod(0o700)
        self._prepared = True

    # Compiling.

    def _compile(self, content: Content, name: str, progress: Progress | None) -> Path:
        report = progress or _silent
        with (
            self._slot(name, len(content.data), report),
            private_copy(content.data) as (source, module),
            self._in_use(),
        ):
            path = self._path(module)
            with _lock(path.with_suffix(_LOCK_SUFFIX), name, len(content.data), report):
                if not self._usable(path):
                    self._compile_into(path, source, name, report)
        if content.identity is not None:
            self._known[content.identity] = module
            self._remember(content.identity, module)
        return path

    @contextlib.contextmanager
    def _slot(self, name: str, size: int, report: Progress) -> Iterator[None]:
        """Wait until one more compilation may run, reporting."""
        started = time.monotonic()
        while not self._slots.acquire(timeout=_RETRY_SECONDS):
            report(CompileProgress(name, size, time.monotonic() - started, None))
        try:
            yield
        finally:
            self._slots.release()

    def _compile_into(self, path: Path, source: int, name: str, report: Progress) -> None:
        with _explained(self._directory), pending_file(self._directory, mode=0o600) as pending:
            native = compile_module(
                source, pending.file.fileno(), name, niceness=self._niceness, progress=report
            )
            # An older record must not vouch for the new code.
            path.with_suffix(_CHECK_SUFFIX).unlink(missing_ok=True)
            pending.commit(path)
            line = f"{native.size} {native.sha256}\n"
            write_atomic(path.with_suffix(_CHECK_SUFFIX), line.encode(), mode=0o600)

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Hold the directory against the sweep; whoever is alone sweeps what killed compilations
        left.
        """
        with _explained(self._directory):
            fd = os.open(self._directory / _USE_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for leftover in self._directory.glob(TEMPORARY_PREFIX + "*"):
                    leftover.unlink(missing_ok=True)
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)


@contextlib.contextmanager
def private_copy(data: memoryview) -> Iterator[tuple[int, str]]:
    """Copy a program into anonymous memory; yields its fd and the sha256 of what was copied."""
    state = new_sha256()
    fd = os.memfd_create("module", os.MFD_CLOEXEC)
    try:
        for start in range(0, len(data), _CHUNK):
            chunk = bytes(data[start : start + _CHUNK])
            state.update(chunk)
            written = 0
            while written < len(chunk):
                written += os.write(fd, chunk[written:])
        yield fd, state.hexdigest()
    finally:
        os.close(fd)


@contextlib.contextmanager
def _lock(path: Path, name: str, size: int, report: Progress) -> Iterator[None]:
    """Hold the module's lock, reporting while another process compiles the same. The file stays."""
    with _explained(path.parent):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    started = time.monotonic()
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report(CompileProgress(name, size, time.monotonic() - started, None))
                time.sleep(_RETRY_SECONDS)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn a host error about the cache's files into one that says where and how to mend it."""
    try:
        yield
    except OSError as error:
        raise CodeCacheError(
            f"cannot write native code to {directory}: {error.strerror}",
            hint="free some space there, or name another state directory",
        ) from error


def _silent(progress: CompileProgress) -> None:
    """Nobody watches."""
