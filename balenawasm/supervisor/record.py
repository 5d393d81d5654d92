"""What the supervisor keeps of a project on disk, so that it can go on after its own end:

    projects/<name>/target.json   the target state; absent while the project is being taken down
    projects/<name>/record.json   subnet, addresses, containers

Both are replaced durably. Everything else is observed: which volumes there are, how containers
ended. Called from the thread pool; one project's files are written by one task at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from balenawasm.atomicfile import write_atomic
from balenawasm.runtime import jsonform
from balenawasm.runtime.scratch import remove_tree
from balenawasm.supervisor.target_state import ProjectTarget

if TYPE_CHECKING:
    from balenawasm.runtime.home import Home

RECORD_VERSION = 1


class Address(NamedTuple):
    """A service's address in the project's network."""

    service: str
    address: str


class ContainerRecord(NamedTuple):
    """A container that exists; `wanted` is False once the user stopped its service."""

    id: str
    service: str
    identity: str
    depends_on: tuple[str, ...] = ()
    wanted: bool = True


class ProjectRecord(NamedTuple):
    """The books of one project. `subnet` is 0 before the network is created."""

    version: int = RECORD_VERSION
    subnet: int = 0
    addresses: tuple[Address, ...] = ()
    containers: tuple[ContainerRecord, ...] = ()


class ProjectFiles:
    """The files of one project."""

    def __init__(self, home: Home, name: str) -> None:
        self._directory = home.project(name)
        self._target = self._directory / "target.json"
        self._record = self._directory / "record.json"

    def load(self) -> tuple[ProjectTarget | None, ProjectRecord]:
        """Read both; FormError or TargetStateError when one is damaged, OSError."""
        target = None
        record = ProjectRecord()
        if self._target.exists():
            data = self._target.read_bytes()
            target = jsonform.decode(ProjectTarget, data, str(self._target)).check()
        if self._record.exists():
            record = jsonform.decode(ProjectRecord, self._record.read_bytes(), str(self._record))
        return target, record

    def save_target(self, target: ProjectTarget | None) -> None:
        """Replace the target state; None removes it."""
        if target is None:
            self._target.unlink(missing_ok=True)
        else:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            write_atomic(self._target, jsonform.encode(target), mode=0o600)

    def save_record(self, record: ProjectRecord) -> None:
        """Replace the record."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        write_atomic(self._record, jsonform.encode(record), mode=0o600)

    def forget(self) -> None:
        """Remove both: the project is no more."""
        remove_tree(self._directory)
