"""Composition steps: what the planner asks for and `supervisor.executors` carries out.

Each step is small enough that planning anew after it is always right. Two steps with the same
`subject` never run at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

from balenawasm.runtime.ports import PublishedPort  # noqa: TC001 - part of the steps' types


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    """Allot a subnet and addresses for these services, and make the network's directory."""

    services: tuple[str, ...]

    @property
    def subject(self) -> str:
        """What the step works on."""
        return "network"


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    """Remove the network's directory; nobody is left in it."""

    @property
    def subject(self) -> str:
        """What the step works on."""
        return "network"


@dataclass(frozen=True, slots=True)
class CreateVolume:
    """Make a named volume's directory."""

    name: str

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"volume {self.name}"


@dataclass(frozen=True, slots=True)
class RemoveVolume:
    """Remove a named volume and the data in it, because the user asked for that."""

    name: str

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"volume {self.name}"


@dataclass(frozen=True, slots=True)
class OpenPorts:
    """Bind exactly these published ports for a service; what was open besides is closed."""

    service: str
    ports: tuple[PublishedPort, ...]

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"service {self.service}"


@dataclass(frozen=True, slots=True)
class Create:
    """Make a container for a service from its target."""

    service: str

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"service {self.service}"


@dataclass(frozen=True, slots=True)
class Start:
    """Start process 1 of a container."""

    service: str
    container: str

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"service {self.service}"


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a container: its stop signal, its grace period, then kill."""

    service: str
    container: str

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"service {self.service}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a container that does not run, with its files."""

    service: str
    container: str

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"service {self.service}"


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is left of the project: forget it."""

    @property
    def subject(self) -> str:
        """What the step works on."""
        return "project"


Step = (
    CreateNetwork
    | RemoveNetwork
    | CreateVolume
    | RemoveVolume
    | OpenPorts
    | Create
    | Start
    | Stop
    | Remove
    | Forget
)
