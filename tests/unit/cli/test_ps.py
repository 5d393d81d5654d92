"""How `ps` shows a service in a table."""

from __future__ import annotations

from balenawasm.cli.ps import command_text
from balenawasm.supervisor.status import ServiceState, ServiceStatus


def test_a_command_stays_on_its_line() -> None:
    def shown(*command: bytes) -> str:
        return command_text(ServiceStatus("web", "i", ServiceState.RUNNING, command=command))

    assert shown(b"python", b"-c", b"a\nb\t\x1b[1m") == r"python -c a\nb\t\x1b[1m"
    assert shown("ä".encode(), b"\xff") == r"ä \xff"
    assert len(shown(b"x" * 1000)) < 60
