"""Removing a container's files. Its guests wrote them, so nothing about them is taken on trust:
the walk goes by directory fds, follows no link, mends modes that forbid it, and needs neither
recursion nor more than two open directories however deep the tree is.

(`shutil.rmtree` holds one fd a level, and importing shutil costs `run` several milliseconds.)
"""

from __future__ import annotations

import itertools
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove a file, link or directory with everything in it; no error when there is none.

    OSError when something cannot be removed; what came before it is gone.
    """
    try:
        is_directory = stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_directory:
        path.unlink(missing_ok=True)
        return
    path.chmod(0o700)
    top = os.open(path, _DIRECTORY)
    try:
        _empty(top)
    finally:
        os.close(top)
    path.rmdir()


def _empty(top: int) -> None:
    """Empty a directory; those further down are first moved up into it, which keeps it flat."""
    unique = os.urandom(8).hex()
    new_names = (f".removing-{unique}-{number}" for number in itertools.count())
    pending = []
    for name in os.listdir(top):
        if _is_directory_after_unlink(name, top):
            pending.append(name)
    while pending:
        name = pending.pop()
        # It may be a directory without any right; nobody else works in here, so no link appears.
        os.chmod(name, 0o700, dir_fd=top)
        directory = os.open(name, _DIRECTORY, dir_fd=top)
        try:
            for child in os.listdir(directory):  # noqa: PTH208 - it is an fd
                if _is_directory_after_unlink(child, directory):
                    moved = next(new_names)
                    os.chmod(child, 0o700, dir_fd=directory)
                    os.rename(child, moved, src_dir_fd=directory, dst_dir_fd=top)
                    pending.append(moved)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=top)


def _is_directory_after_unlink(name: str, directory: int) -> bool:
    """Unlink what is no directory; tell whether it is one."""
    if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return True
    os.unlink(name, dir_fd=directory)
    return False
