"""What a build tells its caller while it runs. The cli renders these; nothing here prints.

`image` names the image that is built, which is another one while a base image is built on demand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balenawasm.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEvent:
    """Any event."""

    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStarted(BuildEvent):
    """A build has begun; `total` steps are to come."""

    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent(BuildEvent):
    """About a step, `number` of `total` counted from 1; `text` is the instruction."""

    number: int
    total: int
    stage: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(StepEvent):
    """A step has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput(StepEvent):
    """The running step's command has written a line. A guest chose it: it may hold anything."""

    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone(StepEvent):
    """A step is done. `size` is its layer's in bytes, None when it made none.

    `cached` says that its layer was there before; a step that only changes settings is not cached.
    """

    seconds: float
    size: int | None
    cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStarted(BuildEvent):
    """The running step downloads something; the tool at work tells no sizes."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchDone(BuildEvent):
    """The download is there and checked; `size` in bytes."""

    what: str
    seconds: float
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkStarted(BuildEvent):
    """Something that an image needs is made (docs/toolchain.md); `what` says so in a few words."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkAdvanced(BuildEvent):
    """`done` of `total` pieces of that work are done."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkDone(BuildEvent):
    """That work is done."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildWarning(BuildEvent):
    """Something that the user should look at; `hint` says what to do."""

    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDone(BuildEvent):
    """The image is in the store; `size` is that of all its layers in bytes."""

    digest: Digest
    layers: int
    size: int
    seconds: float


Progress = Callable[[BuildEvent], None]


def ignore_events(event: BuildEvent) -> None:
    """A Progress for callers that do not care."""
