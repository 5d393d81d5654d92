"""Trees that COPY takes files from: the build context, or the file system of a stage or an image.

Here is what both have in common: symbolic links, wildcards, walking, and the search for what was
probably meant. Paths are bytes, relative, clean, with `b""` for the root.
"""

from __future__ import annotations

import difflib
import posixpath
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from balenawasm.build.errors import InstructionError
from balenawasm.build.patterns import compile_component, has_wildcard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from balenawasm.disk.entry import Entry

_MAXIMUM_LINKS = 40
_MAXIMUM_ENTRIES = 1_000_000
_MAXIMUM_PATH = 4096


class SourceError(InstructionError):
    """A source of COPY or ADD is not there or cannot be copied."""


class FileTree(Protocol):
    """A tree of files. What an entry says of its content does not count: `content` fetches it."""

    @property
    def title(self) -> str:
        """What the tree is, for messages: "the build context"."""

    @property
    def is_root_file_system(self) -> bool:
        """Whether absolute links and `..` count from the root; elsewhere they lead out: refused."""

    def lookup(self, path: bytes) -> Entry | None:
        """Return what is at `path`, links not followed; None when nothing is."""

    def names(self, path: bytes) -> list[bytes]:
        """Return the sorted names in a directory; empty when it is none."""

    def content(self, path: bytes) -> bytes | Path:
        """Return a regular file's content, or a host file that has it."""

    def why_missing(self, path: bytes) -> str | None:
        """Return a hint when something stands at `path` that is hidden on purpose."""


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to copy. `entries[0]` is the thing itself, with the path `b""`; the rest is below.

    `path` is where it is in `tree`, links resolved; `name` is the name it is known by.
    """

    tree: FileTree
    path: bytes
    name: bytes
    entries: tuple[Entry, ...]

    @property
    def is_directory(self) -> bool:
        """Whether the thing itself is a directory."""
        return self.entries[0].is_directory


def select(tree: FileTree, pattern: str) -> list[Source]:
    """Return the sources that one word of COPY names: one, or for a wildcard at least one.

    Raises SourceError, PatternError.
    """
    if posixpath.normpath(pattern).split("/", 1)[0] == "..":
        raise SourceError(
            f"{pattern} lies outside of {tree.title}",
            hint="move it below that directory, or build from a directory further up",
        )
    clean = posixpath.normpath("/" + pattern).lstrip("/")
    if not has_wildcard(clean):
        return [_source(tree, clean.encode(errors="surrogateescape"), pattern)]
    found = [_source(tree, path, pattern) for path in _expand(tree, clean)]
    if not found:
        raise SourceError(f"nothing in {tree.title} matches {pattern}")
    return found


def resolve(tree: FileTree, path: bytes) -> bytes:
    """Follow all symbolic links in `path`; components that do not exist stay as they are.

    Raises SourceError for a loop and for a link that leads out of a tree that is not a root.
    """
    done: list[bytes] = []
    pending = [part for part in path.split(b"/") if part][::-1]
    links = 0
    while pending:
        part = pending.pop()
        if part == b".":
            continue
        if part == b"..":
            if not done and not tree.is_root_file_system:
                raise _escape(tree, path)
            del done[-1:]
            continue
        entry = tree.lookup(b"/".join([*done, part]))
        if entry is None or not stat.S_ISLNK(entry.mode):
            done.append(part)
            continue
        links += 1
        if links > _MAXIMUM_LINKS:
            raise SourceError(f"{show(path)}: too many symbolic links, perhaps a loop")
        target = entry.target or b""
        if target.startswith(b"/"):
            if not tree.is_root_file_system:
                raise _escape(tree, path)
            done.clear()
        pending += [piece for piece in target.split(b"/") if piece][::-1]
    return b"/".join(done)


def walk(tree: FileTree, path: bytes) -> Iterator[Entry]:
    """Yield everything below a directory, parents first, names in order; paths relative to it."""
    pending = [(b"", name) for name in reversed(tree.names(path))]
    count = 0
    while pending:
        parent, name = pending.pop()
        relative = join(parent, name)
        entry = tree.lookup(join(path, relative))
        if entry is None:
            continue
        count += 1
        if count > _MAXIMUM_ENTRIES:
            raise SourceError(f"{show(path)} has more than {_MAXIMUM_ENTRIES} files")
        if len(relative) > _MAXIMUM_PATH:
            # A damaged image can have a directory inside itself.
            raise SourceError(f"a path in {show(path)} has more than {_MAXIMUM_PATH} bytes")
        yield replace(entry, path=relative)
        if entry.is_directory:
            below = tree.names(join(path, relative))
            pending += [(relative, child) for child in reversed(below)]


def join(parent: bytes, name: bytes) -> bytes:
    """Return `parent/name`, without a slash where one of them is the root."""
    return parent + b"/" + name if parent and name else parent or name


def show(path: bytes) -> str:
    """Return a path for a message."""
    return path.decode(errors="replace") or "."


def _source(tree: FileTree, path: bytes, pattern: str) -> Source:
    real = resolve(tree, path)
    entry = tree.lookup(real)
    if entry is None:
        hint = tree.why_missing(real) or _nearest(tree, real)
        raise SourceError(f"{pattern} is not in {tree.title}", hint=hint)
    below = tuple(walk(tree, real)) if entry.is_directory else ()
    name = path.rpartition(b"/")[2]
    return Source(tree, real, name, (replace(entry, path=b""), *below))


def _expand(tree: FileTree, pattern: str) -> list[bytes]:
    """Return the paths that match, in order, as written: links in them are not resolved."""
    found = [b""]
    for component in pattern.split("/"):
        regex = compile_component(component)
        found = [
            join(parent, name)
            for parent in found
            for name in tree.names(resolve(tree, parent))
            if regex.fullmatch(name.decode(errors="surrogateescape"))
        ]
    return found


def _nearest(tree: FileTree, path: bytes) -> str | None:
    """Return a hint with names like the first component of `path` that does not exist."""
    parent, rest = b"", path
    while rest:
        part, _, rest = rest.partition(b"/")
        candidate = join(parent, part)
        if tree.lookup(candidate) is not None:
            parent = candidate
            continue
        names = [show(name) for name in tree.names(parent)]
        for close in difflib.get_close_matches(show(part), names, n=1, cutoff=0.6):
            meant = join(parent, close.encode())
            whole = join(meant, rest)
            return f"did you mean {show(whole if tree.lookup(whole) else meant)}?"
        where = show(parent) if parent else tree.title
        if not names:
            above = tree.lookup(parent)
            return f"{where} is {'empty' if above and above.is_directory else 'not a directory'}"
        return f"{where} has {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
    return None


def _escape(tree: FileTree, path: bytes) -> SourceError:
    return SourceError(
        f"{show(path)} is or goes through a symbolic link that leads out of {tree.title}",
        hint="copy what it points to into that directory",
    )
