"""`COPY --from=artifact:NAME`: named build contexts whose files are made from sources on demand.

An extension of the Balenafile, mostly for the recipes of base images: BusyBox, the C library. What
an artifact is and how it is made is the toolchain's business, which is above this room: whoever
builds hands a source of them in. A recipe's digest includes those of its artifacts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from balenawasm.build.errors import InstructionError

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.build.events import Progress
    from balenawasm.digest import Digest

PREFIX = "artifact:"


class ArtifactNameError(InstructionError):
    """There is no artifact of that name."""


class ArtifactContexts(Protocol):
    """Where artifacts come from; names are without the prefix."""

    def digest(self, name: str) -> Digest:
        """Return the digest of all that the artifact is made from. ArtifactNameError."""
        ...

    def folder(self, name: str, progress: Progress) -> Path:
        """Return the artifact's files, made now if they are missing.

        Raises ArtifactNameError, and BalenaWasmError for what making it raises.
        """
        ...


class NoArtifacts:
    """A source that has none."""

    def digest(self, name: str) -> Digest:
        """Refuse."""
        raise ArtifactNameError(f"there is no artifact {name}")

    def folder(self, name: str, progress: Progress) -> Path:
        """Refuse."""
        raise ArtifactNameError(f"there is no artifact {name}")


def artifact_name(from_stage: str | None) -> str | None:
    """Return the NAME of `--from=artifact:NAME`; None for any other `--from`."""
    if from_stage is None or not from_stage.startswith(PREFIX):
        return None
    return from_stage.removeprefix(PREFIX)
