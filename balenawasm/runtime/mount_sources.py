"""Which host paths may be mounted: none that a container could have chosen, none of our own.

A container that may write to a directory can put a symbolic link there. A bind whose source leads
through such a link would mount whatever the container named: so links count only outside of every
place where containers can write. And a container that reached the state directory could replace
native code, which is run as the user: no bind is, contains or lies in that directory.

Limits: the places are those of the mounts that the caller knows; a link that was planted through a
mount which is in no bundle any more is not known as such.
"""

from __future__ import annotations

import contextlib
import os
import stat as stat_mode
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.runtime.bundle import MountKind
from balenawasm.runtime.exitrecord import StartError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from balenawasm.runtime.bundle import Mount

_MAX_LINKS = 40
_LOOK_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def writable_places(mounts: Iterable[Mount]) -> frozenset[Path]:
    """The host directories in which the containers with these mounts can make links."""
    return frozenset(
        Path(mount.source).resolve()
        for mount in mounts
        if mount.kind is not MountKind.TMPFS and not mount.read_only
    )


def check_sources(mounts: Sequence[Mount], places: Collection[Path], home: Path) -> None:
    """Refuse binds that lead through a link in one of `places`, or to the state directory `home`.

    What a tmpfs starts as a copy of is judged alike. StartError. A source that does not exist is
    judged by what of it does.
    """
    own = home.resolve()
    for mount in mounts:
        if mount.source and mount.kind is not MountKind.VOLUME:
            real = real_source(mount.source, places)
            if real == own or own in real.parents or real in own.parents:
                raise StartError(
                    f"cannot mount {mount.source}: it is, holds or lies in the state directory"
                    f" {own}, which no container may reach",
                    hint="mount only what you need of it, or set BALENAWASM_HOME to another place",
                )


def real_source(source: str, places: Collection[Path], *, make: bool = False) -> Path:
    """Where `source` leads, without a link in it; StartError for a link in one of `places`.

    `make`: make what is missing, as directories; OSError. No step follows a link unseen, so what a
    container changes meanwhile leads nowhere else.
    """
    walk = _Walk(source, places, make=make)
    try:
        while walk.pending:
            walk.step(walk.pending.pop())
        return walk.place
    finally:
        os.close(walk.fd)


def is_below(path: Path, places: Collection[Path]) -> bool:
    """Tell whether `path` lies in one of `places`."""
    return any(place in path.parents for place in places)


class _Walk:
    """A way through the host's directories: `place` is the path of `fd`; `pending` ends with the
    next name.
    """

    def __init__(self, source: str, places: Collection[Path], *, make: bool) -> None:
        self.source = source
        self.places = places
        self.make = make
        self.place = Path("/")
        self.pending = list(reversed(Path(source).absolute().parts[1:]))
        self.fd = os.open("/", _LOOK_FLAGS)
        self._links = 0

    def step(self, name: str) -> None:
        """Take one name of the path."""
        try:
            target = os.readlink(name, dir_fd=self.fd)
        except OSError:
            self._enter(name)
        else:
            self._follow(name, target)

    def _enter(self, name: str) -> None:
        try:
            self._move(name)
        except FileNotFoundError:
            if self.make:
                self._make(name)
            else:
                self._stop(name)
        except OSError:
            self._stop(name)  # opening it will tell why

    def _make(self, name: str) -> None:
        with contextlib.suppress(FileExistsError):  # somebody else was quicker
            os.mkdir(name, dir_fd=self.fd)
        self._move(name)

    def _stop(self, name: str) -> None:
        self.place = self.place.joinpath(name, *reversed(self.pending))
        self.pending.clear()

    def _move(self, name: str) -> None:
        fd = os.open(name, _LOOK_FLAGS, dir_fd=self.fd)
        if stat_mode.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            raise self._refusal(self.place)  # it was none a moment ago
        os.close(self.fd)
        self.fd = fd
        self.place = self.place.parent if name == ".." else self.place / name

    def _follow(self, name: str, target: str) -> None:
        for place in self.places:
            if place == self.place or place in self.place.parents:
                raise self._refusal(place)
        self._links += 1
        if self._links > _MAX_LINKS:
            self._stop(name)
            return
        way = Path(target)
        if way.is_absolute():
            fd = os.open("/", _LOOK_FLAGS)
            os.close(self.fd)
            self.fd, self.place = fd, Path("/")
        self.pending.extend(reversed(way.parts[1:] if way.is_absolute() else way.parts))

    def _refusal(self, place: Path) -> StartError:
        return StartError(
            f"cannot mount {self.source}: a symbolic link on the way is in {place},"
            " where a container can write",
            hint=f"mount the directory it leads to, or make the mount of {place} read-only",
        )
