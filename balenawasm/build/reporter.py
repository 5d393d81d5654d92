"""Turns what happens in one build into events for its caller; counts and times the steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from balenawasm.build.events import (
    BuildDone,
    BuildStarted,
    BuildWarning,
    FetchDone,
    FetchStarted,
    Progress,
    StepDone,
    StepOutput,
    StepStarted,
    WorkAdvanced,
    WorkDone,
    WorkStarted,
)

if TYPE_CHECKING:
    from balenawasm.store.images import Image


class Reporter:
    """The voice of one build; one step and one download at a time."""

    def __init__(self, image: str, progress: Progress) -> None:
        self._image = image
        self._progress = progress
        self._build_began = time.monotonic()
        self._total = 0
        self._step = StepStarted(image=image, number=0, total=0, stage="", text="")
        self._step_began = 0.0
        self._fetched = ""
        self._fetch_began = 0.0
        self._work = ""
        self._work_began = 0.0

    @property
    def progress(self) -> Progress:
        """Who is told; for other voices beside this one."""
        return self._progress

    def begin_build(self, total: int) -> None:
        """The Balenafile is understood: `total` steps are to come."""
        self._total = total
        self._progress(BuildStarted(image=self._image, total=total))

    def end_build(self, image: Image) -> None:
        """The image is in the store."""
        self._progress(
            BuildDone(
                image=self._image,
                digest=image.digest,
                layers=len(image.manifest.layers),
                size=image.size,
                seconds=time.monotonic() - self._build_began,
            )
        )

    def begin_step(self, stage: str, text: str) -> None:
        """The next step begins."""
        self._step = StepStarted(
            image=self._image,
            number=self._step.number + 1,
            total=self._total,
            stage=stage,
            text=text,
        )
        self._step_began = time.monotonic()
        self._progress(self._step)

    def end_step(self, size: int | None = None, *, cached: bool = False) -> None:
        """The step is done; `size` is its layer's in bytes, None when it made none."""
        self._progress(
            StepDone(
                image=self._image,
                number=self._step.number,
                total=self._total,
                stage=self._step.stage,
                text=self._step.text,
                seconds=time.monotonic() - self._step_began,
                size=size,
                cached=cached,
            )
        )

    def output(self, line: str) -> None:
        """The step's command has written a line."""
        self._progress(
            StepOutput(
                image=self._image,
                number=self._step.number,
                total=self._total,
                stage=self._step.stage,
                text=self._step.text,
                line=line,
            )
        )

    def begin_fetch(self, what: str) -> None:
        """A download begins."""
        self._fetched, self._fetch_began = what, time.monotonic()
        self._progress(FetchStarted(image=self._image, what=what))

    def end_fetch(self, size: int) -> None:
        """The download is there and checked; `size` in bytes."""
        seconds = time.monotonic() - self._fetch_began
        self._progress(FetchDone(image=self._image, what=self._fetched, seconds=seconds, size=size))

    def begin_work(self, what: str) -> None:
        """Something that takes a while begins."""
        self._work, self._work_began = what, time.monotonic()
        self._progress(WorkStarted(image=self._image, what=what))

    def advance_work(self, done: int, total: int) -> None:
        """So much of it is done."""
        event = WorkAdvanced(image=self._image, what=self._work, done=done, total=total)
        self._progress(event)

    def end_work(self) -> None:
        """It is done."""
        seconds = time.monotonic() - self._work_began
        self._progress(WorkDone(image=self._image, what=self._work, seconds=seconds))

    def warn(self, message: str, hint: str | None = None) -> None:
        """Something is doubtful."""
        self._progress(BuildWarning(image=self._image, message=message, hint=hint))
