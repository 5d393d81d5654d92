"""Composition steps: what the planner asks for and `supervisor.executors` carries out.

Each step is small enough that planning anew after it is always right. Two steps with the same
`subject` never run at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

from balenawasm.runtime.ports import PublishedPort  # noqa: TC001 - part of the steps' types


@dataclass(frozen=True, slots=True)
class _NetworkStep:
    @property
    def subject(self) -> str:
        """What the step works on."""
        return "network"


@dataclass(frozen=True, slots=True)
class _VolumeStep:
    name: str

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"volume {self.name}"


@dataclass(frozen=True, slots=True)
class _ServiceStep:
    service: str

    @property
    def subject(self) -> str:
        """What the step works on."""
        return f"service {self.service}"


@dataclass(frozen=True, slots=True)
class CreateNetwork(_NetworkStep):
    """Allot a subnet and addresses for these services, and make the network's directory."""

    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveNetwork(_NetworkStep):
    """Remove the network's directory; nobody is left in it."""


@dataclass(frozen=True, slots=True)
class CreateVolume(_VolumeStep):
    """Make a named volume's directory."""


@dataclass(frozen=True, slots=True)
class RemoveVolume(_VolumeStep):
    """Remove a named volume and the data in it, because the user asked for that."""


@dataclass(frozen=True, slots=True)
class OpenPorts(_ServiceStep):
    """Bind exactly these published ports for a service; what was open besides is closed."""

    ports: tuple[PublishedPort, ...]


@dataclass(frozen=True, slots=True)
class Create(_ServiceStep):
    """Make a container for a service from its target."""


@dataclass(frozen=True, slots=True)
class Start(_ServiceStep):
    """Start process 1 of a container."""

    container: str


@dataclass(frozen=True, slots=True)
class Stop(_ServiceStep):
    """Stop a container: its stop signal, its grace period, then kill."""

    container: str


@dataclass(frozen=True, slots=True)
class Remove(_ServiceStep):
    """Remove a container that does not run, with its files."""

    container: str


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
