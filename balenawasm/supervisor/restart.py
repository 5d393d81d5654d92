"""Restart policies, with Docker's backoff: 0.1 s, doubled at each restart up to a minute, and from
the beginning again once a run has lasted 10 s. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.supervisor.target_state import RestartPolicy

if TYPE_CHECKING:
    from balenawasm.supervisor.target_state import ServiceTarget

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
STABLE_SECONDS = 10.0
"""A run that lasted this long was no crash at start."""


def restart_delay(
    service: ServiceTarget, exit_code: int, *, quick_failures: int, retries: int
) -> float | None:
    """Return the seconds to wait before the next start, None when there is to be none.

    `quick_failures` counts the runs in a row, this one included, that ended before STABLE_SECONDS;
    `retries` the restarts made so far since the user last started the service.
    """
    policy = service.restart
    if policy is RestartPolicy.NO:
        return None
    if policy is RestartPolicy.ON_FAILURE:
        exhausted = service.restart_retries is not None and retries >= service.restart_retries
        if exit_code == 0 or exhausted:
            return None
    doublings = min(max(quick_failures - 1, 0), 10)
    return float(min(FIRST_DELAY * 2**doublings, LONGEST_DELAY))
