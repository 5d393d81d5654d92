"""What running containers use, as their runners tell it, against what they are allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balenawasm.cli.output import memory_text
from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import control, jsonform
from balenawasm.supervisor.status import ServiceState

if TYPE_CHECKING:
    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.status import ServiceStatus

_SECONDS = 2.0
"""A runner that does not answer by then is ending, or starved; it is shown without numbers."""


def usage_of(home: Home, service: ServiceStatus) -> control.Status | None:
    """Ask a service's runner; None when none runs or answers."""
    if service.state is not ServiceState.RUNNING or service.container is None:
        return None
    try:
        channel = control.connect(home.container(service.container).control_socket)
    except BalenaWasmError:
        return None
    try:
        channel.socket.settimeout(_SECONDS)
        channel.send(control.StatusRequest())
        received = channel.receive()
    except BalenaWasmError:
        return None
    finally:
        channel.close()
    return received[0] if received is not None and isinstance(received[0], control.Status) else None


def usage_json(status: control.Status) -> dict[str, Any]:
    """The numbers of one container; a limit that is null does not exist."""
    return {
        "cpu_seconds": round(status.cpu_seconds, 3),
        "memory": sum(process.memory for process in status.processes),
        "resident": status.resident,
        "processes": len(status.processes),
        "open_files": max((process.open_files for process in status.processes), default=0),
        "storage": status.storage,
        "log_dropped": status.log_dropped,
        "limits": jsonform.to_json(status.limits),
        "kept_by_cgroup": list(status.kept_by_cgroup),
    }


def usage_cells(status: control.Status | None) -> tuple[str, str, str]:
    """Processor time, memory and processes for a table: what is used, and of how much."""
    if status is None:
        return "", "", ""
    limits = status.limits
    share = f" of {limits.cpus:g} cpus" if limits.cpus is not None else ""
    memory = memory_text(sum(process.memory for process in status.processes))
    most = f"/{memory_text(limits.memory)}" if limits.memory is not None else ""
    return (
        f"{status.cpu_seconds:.1f}s{share}",
        f"{memory}{most}",
        f"{len(status.processes)}/{limits.processes}",
    )
