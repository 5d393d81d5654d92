"""How long work shows itself: build steps, downloads, supervisor steps; all on standard error.

On a terminal the current step is one line with a running clock, replaced by its result; elsewhere
each result is a plain line; with `json` each event is an object on standard output.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

import click

from balenawasm.build.events import (
    BuildDone,
    BuildEvent,
    BuildStarted,
    BuildWarning,
    FetchDone,
    FetchStarted,
    StepDone,
    StepEvent,
    StepOutput,
    WorkAdvanced,
    WorkDone,
    WorkStarted,
)
from balenawasm.cli.output import size_text, terminal_text

if TYPE_CHECKING:
    from types import TracebackType

    from balenawasm.supervisor.status import ProgressEvent

STYLES = ("auto", "plain", "json")
_TICK_SECONDS = 0.1
_BESIDE_TEXT = 12
"""Columns for what stands before and behind a clock's text."""
_ERASE_LINE = "\r\x1b[2K"


def seconds_text(seconds: float) -> str:
    """A duration as people read it: 12ms, 3.4s."""
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"


def output_text(line: str) -> str:
    """A command's line, for a terminal; of parts that overwrite each other the last."""
    return terminal_text(line.rstrip("\r").rpartition("\r")[2])


def show_line(who: str, what: str) -> None:
    """One result: who in bold, what happened."""
    click.echo(f" {click.style('✔', fg='green')} {click.style(who, bold=True)} {what}", err=True)


class Clock:
    """One line on a terminal that tells what goes on and for how long; silent elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text = ""
        self._since = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._terminal = sys.stderr.isatty()

    @property
    def visible(self) -> bool:
        """Whether there is a terminal to show it on."""
        return self._terminal

    def begin(self, text: str) -> None:
        """Show `text` with a clock that runs on until another text or `end`."""
        if not self._terminal or text == self._text:
            return
        with self._lock:
            self._text, self._since = text, time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._tick, daemon=True)
            self._thread.start()

    def end(self, line: str | None = None) -> None:
        """Take the line away and print the result in its place."""
        with self._lock:
            if self._text:
                sys.stderr.write(_ERASE_LINE)
            self._text = ""
            if line is not None:
                click.echo(line, err=True)

    def insert(self, line: str) -> None:
        """Print a line above the text, whose clock runs on."""
        with self._lock:
            if self._text:
                sys.stderr.write(_ERASE_LINE)
            click.echo(line, err=True)

    def close(self) -> None:
        """Stop the clock; the terminal's line is free afterwards."""
        self.end()
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _tick(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            with self._lock:
                if self._text:
                    passed = seconds_text(time.monotonic() - self._since)
                    sys.stderr.write(f"{_ERASE_LINE}   {_fitting(self._text)} {passed}")
                    sys.stderr.flush()


def _fitting(text: str) -> str:
    """Cut a text to the terminal's width: a line that is broken could not be taken away."""
    room = shutil.get_terminal_size().columns - _BESIDE_TEXT
    # Colours are in front, if anywhere.
    excess = len(click.unstyle(text)) - room
    return text if excess <= 0 else text[: max(0, len(text) - excess - 1)] + "…"


class StepDisplay:
    """Shows what the supervisor does to services; a context manager, callable with each event."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._last: dict[str, str] = {}
        """Service → what was shown of it last."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clock.close()

    def __call__(self, event: ProgressEvent) -> None:
        """Show one event: the running one on a terminal, each kind of step once elsewhere."""
        if event.service is None:
            return
        # Slow steps tell their seconds behind a comma, again and again.
        what = f"{event.service} {event.text.partition(',')[0]}"
        if self._clock.visible:
            self._clock.begin(what)
        elif what != self._last.get(event.service):
            click.echo(f"   {what}", err=True)
        self._last[event.service] = what


class BuildDisplay:
    """Shows a build's events in one of STYLES; a context manager, callable with each event."""

    def __init__(self, style: str = "auto") -> None:
        self._json = style == "json"
        self._clock = Clock() if style == "auto" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._clock is not None:
            self._clock.close()

    def __call__(self, event: BuildEvent) -> None:
        """Show one event."""
        if self._json:
            click.echo(json.dumps({"event": type(event).__name__, **dataclasses.asdict(event)}))
            return
        match event:
            case StepEvent():
                self._show_step(event)
            case FetchDone():
                took = seconds_text(event.seconds)
                self._show(f"   {event.image} fetched {event.what} {size_text(event.size)} {took}")
            case FetchStarted():
                self._begin(f"{event.image} fetching {event.what}")
            case WorkStarted() | WorkAdvanced():
                self._begin(_work_text(event))
            case WorkDone():
                self._show(f"   {event.what} {seconds_text(event.seconds)}")
            case BuildWarning():
                self._show(f"{click.style('warning:', fg='yellow')} {event.message}")
                if event.hint:
                    self._show(f"{click.style('hint:', fg='cyan')} {event.hint}")
            case BuildDone():
                head = click.style(event.image, bold=True)
                size = f"{event.layers} layers, {size_text(event.size)}"
                self._show(f" {click.style('✔', fg='green')} {head} {event.digest[7:19]} {size}")
            case BuildStarted():
                self._begin(f"{event.image} building")
            case _:
                pass

    def _show_step(self, event: StepEvent) -> None:
        match event:
            case StepDone():
                self._show(_step_line(event))
            case StepOutput():
                self._output(event)
            case _:
                self._begin(f"{_step_head(event)} {event.text}")

    def _begin(self, text: str) -> None:
        if self._clock is not None:
            self._clock.begin(text)

    def _output(self, event: StepOutput) -> None:
        line = f"   {_step_head(event)} {output_text(event.line)}"
        if self._clock is not None:
            self._clock.insert(line)
        else:
            click.echo(line, err=True)

    def _show(self, line: str) -> None:
        if self._clock is not None:
            self._clock.end(line)
        else:
            click.echo(line, err=True)


def _work_text(event: WorkStarted | WorkAdvanced) -> str:
    if isinstance(event, WorkStarted):
        return event.what
    return f"{event.what}, {event.done} of {event.total}"


def _step_head(event: StepEvent) -> str:
    return click.style(f"[{event.image} {event.number}/{event.total}]", fg="blue")


def _step_line(event: StepDone) -> str:
    size = "" if event.size is None else f" {size_text(event.size)}"
    how = click.style("CACHED", fg="green") if event.cached else seconds_text(event.seconds)
    return f"   {_step_head(event)} {event.text}{size} {how}"
