"""The directory that a container's programs start in: made for process 1, as Docker does.

A guest would not notice that it is missing: wasi-libc keeps the working directory to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.runtime.exitrecord import StartError
from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.path import Namespace


def make_working_directory(namespace: Namespace, path: bytes) -> None:
    """Make the directory and those above it, unless they are there. StartError."""
    try:
        if _is_directory(namespace, path):
            return
        names = [name for name in path.split(b"/") if name]
        for count in range(1, len(names) + 1):
            try:
                namespace.make_directory(
                    NOBODY, namespace.root, b"/" + b"/".join(names[:count]), mode=0o755
                )
            except GuestError as error:
                if error.errno is not Errno.EEXIST:
                    raise
    except GuestError as error:
        raise _unusable(path, error.errno.name) from error
    check_working_directory(namespace, path)


def check_working_directory(namespace: Namespace, path: bytes) -> None:
    """StartError unless there is such a directory."""
    try:
        if _is_directory(namespace, path):
            return
    except GuestError as error:
        raise _unusable(path, error.errno.name) from error
    raise _unusable(path, "there is no such directory in the container")


def _is_directory(namespace: Namespace, path: bytes) -> bool:
    try:
        node = namespace.resolve(NOBODY, namespace.root, path, follow=True).node
    except GuestError as error:
        if error.errno is Errno.ENOENT:
            return False
        raise
    if node.filetype is not Filetype.DIRECTORY:
        raise GuestError(Errno.ENOTDIR)
    return True


def _unusable(path: bytes, reason: str) -> StartError:
    return StartError(f"working directory {path.decode('utf-8', 'replace')}: {reason}")
