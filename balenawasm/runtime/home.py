"""The state directory: where everything that outlives a command is kept, and what each part is for.

    version                      the layout's number, `1`
    store/                       images: an OCI image layout (balenawasm.store)
    cache/{native,downloads,build}   may be deleted at any time when nothing runs
    volumes/<project>_<name>/    named volumes: the users' data
    containers/<id>/             bundle.json, upper/, log, exit.json (:class:`ContainerPaths`)
    projects/<name>/             the supervisor's target state and network of each project
    run/                         sockets, locks and logs of running processes; worthless after boot

Everything below the root is private (0700): bundles hold environment variables, and native code is
trusted like an executable. Names that become file names are checked here, so that no caller can be
led out of the directory.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from balenawasm.atomicfile import write_atomic
from balenawasm.errors import BalenaWasmError
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT_VERSION = b"1\n"

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")


class HomeError(BalenaWasmError):
    """The state directory cannot be used."""


class UnsafeNameError(BalenaWasmError):
    """A project, volume or container name cannot be a file name."""


class ContainerPaths(NamedTuple):
    """The files of one container; those in `run` are worthless after a reboot."""

    directory: Path
    run: Path

    @property
    def home(self) -> Path:
        """The state directory that it is in."""
        return self.directory.parent.parent

    @property
    def bundle(self) -> Path:
        """The description that the runner starts from (docs/formats/bundle.md)."""
        return self.directory / "bundle.json"

    @property
    def upper(self) -> Path:
        """The overlay's writable directory."""
        return self.directory / "upper"

    @property
    def log(self) -> Path:
        """The newest log file; older ones have `.1`, `.2` appended."""
        return self.directory / "log"

    @property
    def exit(self) -> Path:
        """How process 1 ended last time; absent while it runs and before the first start."""
        return self.directory / "exit.json"

    @property
    def control_socket(self) -> Path:
        """The runner's SOCK_SEQPACKET socket (balenawasm.runtime.control)."""
        return self.run / "control"

    @property
    def loopback(self) -> Path:
        """The directory of this container's own listeners on 127.0.0.1."""
        return self.run / "loopback"


class Home:
    """The paths below one state directory. Only :meth:`create` touches the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.version_file = self.root / "version"
        self.store = self.root / "store"
        self.native_code = self.root / "cache" / "native"
        self.downloads = self.root / "cache" / "downloads"
        self.build_cache = self.root / "cache" / "build"
        self.volumes = self.root / "volumes"
        self.containers = self.root / "containers"
        self.projects = self.root / "projects"
        self.run = self.root / "run"
        self.supervisor_socket = self.run / "supervisor.sock"
        self.supervisor_lock = self.run / "supervisor.lock"
        self.supervisor_log = self.run / "supervisor.log"

    def create(self) -> Home:
        """Make what is missing and check the layout's version; returns self.

        Raises HomeError when the directory cannot be written or has another version of the layout.
        """
        private = (
            self.root / "cache",
            self.store,
            self.native_code,
            self.downloads,
            self.build_cache,
            self.volumes,
            self.containers,
            self.projects,
            self.run,
            self.run / "containers",
            self.run / "networks",
        )
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_version()
            for directory in private:
                directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeError(
                f"cannot use the state directory {self.root}: {error.strerror}",
                hint="set BALENAWASM_HOME to a directory that you may write",
            ) from error
        return self

    def _check_version(self) -> None:
        try:
            found = self.version_file.read_bytes()
        except FileNotFoundError:
            write_atomic(self.version_file, LAYOUT_VERSION)
            return
        if found != LAYOUT_VERSION:
            version = found.decode("latin-1").strip()
            raise HomeError(
                f"the state directory {self.root} has layout version {version!r},"
                f" this program knows {LAYOUT_VERSION.decode().strip()!r}",
                hint="use the version of balenawasm that made it, or another BALENAWASM_HOME",
            )

    def container(self, container_id: str) -> ContainerPaths:
        """The paths of one container; nothing is created."""
        name = safe_name(container_id, "container id")
        return ContainerPaths(self.containers / name, self.run / "containers" / name)

    def volume(self, full_name: str) -> Path:
        """The directory of a named volume; `full_name` is `<project>_<name>` as a rule."""
        return self.volumes / safe_name(full_name, "volume")

    def project(self, project: str) -> Path:
        """The directory of a project's target state and network."""
        return self.projects / safe_name(project, "project")

    def network(self, project: str) -> Path:
        """The directory of a project's bridge network: `<address>/tcp-<port>` and `hosts`."""
        return self.run / "networks" / safe_name(project, "project")


def safe_name(name: str, what: str) -> str:
    """Return `name` when it is fit to be a file name, else raise UnsafeNameError about `what`."""
    if not _SAFE_NAME.match(name):
        raise UnsafeNameError(
            f"not a usable {what} name: {name!r}",
            hint="use up to 128 of A-Z a-z 0-9 _ . -, with a letter or a digit first",
        )
    return name
