"""The artifacts by name, for `COPY --from=artifact:NAME` and for whoever else needs one.

Each artifact has a module with two functions: its digest, which is that of all it is made from and
costs no more than reading our own files, and one that returns its folder, making it first if it is
missing. The modules are imported when their artifact is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, cast

from balenawasm.build.artifact_contexts import ArtifactNameError
from balenawasm.build.events import Progress, ignore_events
from balenawasm.record import NamedTuple
from balenawasm.toolchain.artifacts import ArtifactCache, artifact_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from balenawasm.digest import Digest
    from balenawasm.runtime.home import Home


class Toolchain(NamedTuple):
    """What making artifacts needs. `environment` is what apt-get and npm run with; `home` is where
    native code is kept; `progress` is told what is being made.
    """

    home: Home
    environment: Mapping[str, str]
    progress: Progress = ignore_events

    @property
    def cache(self) -> ArtifactCache:
        """The user's artifacts."""
        return ArtifactCache(artifact_folder(self.environment), self.progress)


class _Maker(NamedTuple):
    module: str
    digest: str
    folder: str


_MAKERS: Final[Mapping[str, _Maker]] = {
    "llvm": _Maker("llvm_package", "llvm_digest", "llvm_artifact"),
    "sysroot": _Maker("musl", "sysroot_digest", "sysroot_artifact"),
    "libcxx": _Maker("libcxx", "libcxx_digest", "libcxx_artifact"),
    "busybox": _Maker("busybox", "busybox_digest", "busybox_artifact"),
    "c": _Maker("c_compiler", "c_digest", "c_artifact"),
    "make": _Maker("make", "make_digest", "make_artifact"),
}


class Artifacts:
    """The artifacts that this package can make (a `build.artifact_contexts.ArtifactContexts`)."""

    def __init__(self, home: Home, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = environment

    def digest(self, name: str) -> Digest:
        """Return the digest of all that the artifact is made from. ArtifactNameError."""
        return cast("Callable[[], Digest]", _function(name, _maker(name).digest))()

    def folder(self, name: str, progress: Progress) -> Path:
        """Return the artifact's files, made now if they are missing. BalenaWasmError."""
        make = cast("Callable[[Toolchain], Path]", _function(name, _maker(name).folder))
        return make(Toolchain(self._home, self._environment, progress))


def _maker(name: str) -> _Maker:
    if name not in _MAKERS:
        raise ArtifactNameError(
            f"there is no artifact {name}", hint=f"there are {', '.join(sorted(_MAKERS))}"
        )
    return _MAKERS[name]


def _function(name: str, function: str) -> object:
    module = importlib.import_module(f"balenawasm.toolchain.{_MAKERS[name].module}")
    return getattr(module, function)
