"""The current state of a project, as the planner sees it: observed facts, no handles.

`supervisor.project` makes one of these whenever something has happened; the planner compares it
with the target state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.digest import Digest
    from balenawasm.runtime.ports import PublishedPort


class Phase(StrEnum):
    """Where a container is in its life. In STARTING and STOPPING a step is under way."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentContainer:
    """One container. `identity` is that of the service target it was made from.

    `wanted` is False after the user stopped the service. `may_start` says that, if process 1 is to
    run, it may do so now: the container is new, or its restart policy says so and the backoff is
    over; `restarts_later` that it has ended and its backoff still runs. `exit_code` is that of the
    last run that ended.
    """

    id: str
    service: str
    identity: Digest
    phase: Phase
    depends_on: tuple[str, ...] = ()
    wanted: bool = True
    may_start: bool = True
    restarts_later: bool = False
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentProject:
    """What there is of a project. `open_ports` are by service; `volumes` are full names. Services
    that are `returning` are being restarted by the user.
    """

    name: str
    network: bool = False
    volumes: frozenset[str] = frozenset()
    containers: tuple[CurrentContainer, ...] = ()
    open_ports: Mapping[str, tuple[PublishedPort, ...]] = field(default_factory=dict)
    returning: frozenset[str] = frozenset()
