"""A native BusyBox of our configuration and patches, built by the host's compiler, to compare with.

It also has no fork (NOMMU), so that a difference is one of the sandbox and not of the shell. It
lies in the tests' cache under the digest of what it is made from: `source/`, the configured source
with the test suites, and `rootfs/`, the program and its links as in our image. For benchmarks there
is also one of the default configuration, with fork and with ash as its shell.

Run this file to build the first: about a minute.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c.toolchain import cache_directory

from balenawasm.atomicfile import file_lock
from balenawasm.build.reporter import Reporter
from balenawasm.digest import hex_of
from balenawasm.toolchain.artifacts import ArtifactCache, artifact_folder, digest_of
from balenawasm.toolchain.busybox import lay_out
from balenawasm.toolchain.busybox_source import (
    SOURCE,
    configure,
    run_make,
    source_digest,
    unpack_busybox,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.digest import Digest

IMAGE_FILES = Path(__file__).parents[1] / "images" / "busybox" / "rootfs"
BUILD = ("CC=gcc", f"-j{os.cpu_count()}", "LDFLAGS=-static")
_NEW_NAMESPACES = 0x20000 | 0x10000000
_BIND_ALL = 0x1000 | 0x4000


@dataclass(frozen=True)
class NativeBusyBox:
    """Where it lies."""

    folder: Path

    @property
    def program(self) -> Path:
        """The program; its name decides which applet it is."""
        return self.folder / "rootfs" / "bin" / "busybox"

    @property
    def source(self) -> Path:
        """The configured source, with the test suites."""
        return self.folder / "source"


def native_busybox() -> NativeBusyBox:
    """Return it, built if it is missing."""
    return NativeBusyBox(_kept("busybox", digest_of(source_digest(), "static", "1"), _make))


def native_ash() -> Path:
    """Return the program of BusyBox with ash, built if it is missing."""
    folder = _kept("busybox-ash", digest_of(str(SOURCE), *SOURCE.files.values(), "1"), _make_ash)
    return folder / "busybox"


def _kept(name: str, digest: Digest, make: Callable[[Path], None]) -> Path:
    folder = cache_directory() / f"{name}-{hex_of(digest)[:32]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                made = Path(temporary, "made")
                made.mkdir()
                make(made)
                made.rename(folder)
    return folder


def _unpack(source: Path) -> None:
    cache = ArtifactCache(artifact_folder(os.environ))
    unpack_busybox(source, cache.downloads, os.environ, Reporter("busybox", lambda _event: None))


def _make(folder: Path) -> None:
    source = folder / "source"
    _unpack(source)
    configure(source, os.environ)
    run_make(source, [*BUILD, "busybox", "busybox.links"], os.environ)
    links = (source / "busybox.links").read_text().split()
    lay_out(source / "busybox", links, folder)
    for leftover in [*source.rglob("*.o"), *source.rglob("*.a"), *source.rglob(".*.cmd")]:
        leftover.unlink()


def _make_ash(folder: Path) -> None:
    source = folder / "source"
    _unpack(source)
    run_make(source, ["defconfig"], os.environ)
    run_make(source, [*BUILD, "busybox"], os.environ)
    shutil.move(source / "busybox", folder / "busybox")
    shutil.rmtree(source)


def make_root(busybox: NativeBusyBox, root: Path) -> None:
    """Lay out a root directory as in our image, with the native program, for `in_root`."""
    shutil.copytree(busybox.folder / "rootfs", root, symlinks=True)
    shutil.copytree(IMAGE_FILES, root, symlinks=True, dirs_exist_ok=True)
    for name in ("proc", "dev", "tmp", "root"):
        (root / name).mkdir(exist_ok=True)


def in_root(
    root: Path, words: Sequence[str], variables: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with `root` as `/`, in namespaces of its own; its stderr goes to its stdout."""
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        if libc.unshare(_NEW_NAMESPACES):
            raise OSError(ctypes.get_errno(), "unshare")
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            Path("/proc/self", name).write_text(text)
        for name in ("proc", "dev"):
            target = os.fsencode(root / name)
            if libc.mount(f"/{name}".encode(), target, None, _BIND_ALL, None):
                raise OSError(ctypes.get_errno(), f"mount {name}")
        os.chroot(root)
        os.chdir("/")

    return subprocess.run(
        words,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=enter,
        timeout=timeout,
        check=False,
    )


if __name__ == "__main__":
    native_busybox()
