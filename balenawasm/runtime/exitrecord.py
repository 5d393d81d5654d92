"""How a container's last run ended: `containers/<id>/exit.json` (docs/formats/bundle.md).

Written by the runner as its last act; absent when the runner was killed or the power was cut. The
codes for a container that did not start are Docker's.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from balenawasm.atomicfile import write_atomic
from balenawasm.errors import BalenaWasmError
from balenawasm.kernel.outcome import Exited, Signaled, Trapped
from balenawasm.record import NamedTuple
from balenawasm.runtime import jsonform

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.kernel.outcome import Outcome

NOT_STARTED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
KILLED = 128 + signal.SIGKILL


class StartError(BalenaWasmError):
    """A container's process 1 could not be started; `exit_code` is 125, 126 or 127 as Docker's."""

    def __init__(self, message: str, *, hint: str | None = None, code: int = NOT_STARTED) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = code


class ExitRecord(NamedTuple):
    """`code` counts as Docker's (128 + signal); times are seconds since 1970."""

    code: int
    reason: str
    started_at: float
    finished_at: float


def describe(outcome: Outcome) -> str:
    """Say in words how a guest ended."""
    if isinstance(outcome, Exited):
        return f"exited with code {outcome.code}"
    if isinstance(outcome, Signaled):
        return f"killed by {signal_name(outcome.signo)}"
    assert isinstance(outcome, Trapped)  # noqa: S101 - there are no other outcomes
    return outcome.message.partition("\n")[0]


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `signal 40` for one without a name."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def write_exit_record(path: Path, record: ExitRecord) -> None:
    """Write the record; atomic, not durable (see docs/formats/bundle.md)."""
    write_atomic(path, jsonform.encode(record), mode=0o600, durable=False)


def read_exit_record(path: Path) -> ExitRecord | None:
    """Return the record, None when there is none or it is damaged."""
    try:
        return jsonform.decode(ExitRecord, path.read_bytes(), str(path))
    except (OSError, jsonform.FormError):
        return None
