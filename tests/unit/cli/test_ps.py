"""How `ps` shows a service in a table."""

from __future__ import annotations

from typing import Any

import pytest

from balenawasm.cli.output import memory_text
from balenawasm.cli.ps import command_text, status_text
from balenawasm.supervisor.status import ServiceState, ServiceStatus


def test_a_status_tells_how_it_ended() -> None:
    def shown(state: ServiceState, **more: Any) -> str:
        return status_text(ServiceStatus("web", "i", state, **more))

    assert shown(ServiceState.STOPPED, exit_code=137) == "stopped (137)"
    assert shown(ServiceState.STOPPED) == "stopped"
    assert shown(ServiceState.EXITED, exit_code=0) == "exited (0)"
    assert shown(ServiceState.FAILED, error="no") == "failed: no"
    assert shown(ServiceState.WAITING) == "waiting"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (10 * 2**20 + 2**19, "10.5MiB"),
        (999 * 2**20, "999MiB"),
        (1000 * 2**20, "1000MiB"),
        (3 * 2**30, "3GiB"),
        (2**52, "4096TiB"),
    ],
)
def test_memory_in_the_units_of_limits(size: int, text: str) -> None:
    assert memory_text(size) == text


def test_a_command_stays_on_its_line() -> None:
    def shown(*command: bytes) -> str:
        return command_text(ServiceStatus("web", "i", ServiceState.RUNNING, command=command))

    assert shown(b"python", b"-c", b"a\nb\t\x1b[1m") == r"python -c a\nb\t\x1b[1m"
    assert shown("ä".encode(), b"\xff") == r"ä \xff"
    assert len(shown(b"x" * 1000)) < 60
