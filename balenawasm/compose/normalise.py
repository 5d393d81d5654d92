"""One service of a compose file → the model, short and long forms alike.

Spec: compose specification, "Services", one section per key; "Build". What is not supported is
named in a warning (:mod:`warnings`); a wrong type is refused with the key path and the line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.compose.amounts import read_duration
from balenawasm.compose.document import ComposeError, Item, Value, present
from balenawasm.compose.engine import DockerBuild, OwnBuild, find_build
from balenawasm.compose.environment import read_environment, read_pairs, read_set_pairs
from balenawasm.compose.limits import LIMIT_KEYS, read_limits
from balenawasm.compose.model import (
    BRIDGE,
    BUILD_NETWORKS,
    NETWORK_MODES,
    Build,
    Condition,
    DependsOn,
    Restart,
    RestartKind,
    Service,
)
from balenawasm.compose.mounts import MountReader
from balenawasm.compose.ports import read_exposed, read_ports
from balenawasm.compose.warnings import (
    CHANGED_BUILD,
    CHANGED_SERVICE,
    EXTENSION,
    NOT_YET_BUILD,
    NOT_YET_SERVICE,
    Warnings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.compose.interpolate import Lookup

_SERVICE_NAME = re.compile(r"[a-zA-Z0-9._-]+\Z")
_SERVICE_KEYS = frozenset(
    [
        "build",
        "command",
        "depends_on",
        "entrypoint",
        "env_file",
        "environment",
        "expose",
        "hostname",
        "image",
        "labels",
        "network_mode",
        "ports",
        "restart",
        "stop_grace_period",
        "stop_signal",
        "tmpfs",
        "tty",
        "volumes",
        "working_dir",
    ]
)
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62})\Z")
_SIGNAL = re.compile(r"(?:SIG)?(?:[A-Z][A-Z0-9]{1,8}|RTMIN\+\d{1,2})\Z|[1-9]\d?\Z", re.ASCII)
_BUILD_KEYS = frozenset({"args", "balenafile", "context", "dockerfile", "network", "target"})
_DEPENDENCY_KEYS = frozenset({"condition", "required"})
_RETRIES = re.compile(r"on-failure:(\d{1,9})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Draft:
    """A service before references between services are checked.

    `service` is None for one that is Docker's; `docker_reason` then says why.
    `optional_dependencies` may be missing.
    """

    name: str
    item: Item
    service: Service | None
    docker_reason: str = ""
    optional_dependencies: frozenset[str] = frozenset()


class ServiceReader:
    """Reads the services of one project; `lookup` answers for variables from outside."""

    def __init__(self, directory: Path, lookup: Lookup, warnings: Warnings) -> None:
        self._directory = directory
        self._lookup = lookup
        self._warnings = warnings
        self._mounts = MountReader(directory, lookup, warnings)

    def read(self, name: str, item: Item) -> Draft:
        """Read one service. Raises ComposeError."""
        if not _SERVICE_NAME.match(name):
            raise item.error(
                f"{name!r} cannot be the name of a service",
                hint="a name has letters, digits, '.', '_' and '-'",
            )
        if item.is_null:
            raise _nothing_to_run(item)
        fields = item.mapping()
        build = None
        if (build_item := present(fields, "build")) is not None:
            found = find_build(build_item, self._directory)
            if isinstance(found, DockerBuild):
                return Draft(name, item, None, found.reason)
            build = self._build(build_item, found)
        image = present(fields, "image")
        if build is None and (image is None or not image.text()):
            raise _nothing_to_run(item)
        self._warnings.unknown_keys(
            fields, _SERVICE_KEYS | LIMIT_KEYS, not_yet=NOT_YET_SERVICE, changed=CHANGED_SERVICE
        )
        depends_on, optional = self._depends_on(fields)
        labels = present(fields, "labels")
        ports = present(fields, "ports")
        expose = present(fields, "expose")
        network_mode = self._network_mode(fields)
        if network_mode != BRIDGE and ports is not None:
            self._warnings.add_at(
                ports, f"is ignored: nothing is published with network_mode {network_mode}"
            )
            ports = None
        service = Service(
            name=name,
            image=None if image is None else image.text(),
            build=build,
            command=_words(fields, "command"),
            entrypoint=_words(fields, "entrypoint"),
            environment=read_environment(fields, self._directory, self._lookup, self._warnings),
            ports=() if ports is None else read_ports(ports, self._warnings),
            expose=() if expose is None else read_exposed(expose),
            volumes=self._mounts.read(present(fields, "volumes"), present(fields, "tmpfs")),
            depends_on=depends_on,
            working_dir=_working_dir(fields),
            tty=_flag(fields, "tty"),
            restart=_restart(fields),
            hostname=_hostname(fields),
            network_mode=network_mode,
            stop_signal=_stop_signal(fields),
            stop_grace=_duration(fields, "stop_grace_period"),
            labels={}
            if labels is None
            else {key: value or "" for key, value in read_pairs(labels).items()},
            limits=read_limits(fields, self._warnings),
            stdin_from=_stdin_from(fields),
            x_balenawasm=read_extension(fields),
        )
        return Draft(name, item, service, optional_dependencies=optional)

    def _network_mode(self, fields: Mapping[str, Item]) -> str:
        item = present(fields, "network_mode")
        if item is None or item.text() in NETWORK_MODES:
            return BRIDGE if item is None else item.text()
        if item.text() != "default":
            self._warnings.add_at(
                item, "is not supported yet: the service stays on the project's own network"
            )
        return BRIDGE

    def _build(self, item: Item, files: OwnBuild) -> Build:
        if not isinstance(item.value, Mapping):
            return Build(files.context, files.balenafile)
        fields = item.value
        self._warnings.unknown_keys(
            fields, _BUILD_KEYS, not_yet=NOT_YET_BUILD, changed=CHANGED_BUILD
        )
        args = present(fields, "args")
        target = present(fields, "target")
        return Build(
            files.context,
            files.balenafile,
            {} if args is None else read_set_pairs(args, self._lookup),
            None if target is None else target.text(),
            self._build_network(fields),
        )

    def _build_network(self, fields: Mapping[str, Item]) -> str:
        item = present(fields, "network")
        if item is None or item.text() in BUILD_NETWORKS:
            return BUILD_NETWORKS[0] if item is None else item.text()
        self._warnings.add_at(item, "is not supported yet: RUN reaches nothing outside")
        return BUILD_NETWORKS[0]

    def _depends_on(
        self, fields: Mapping[str, Item]
    ) -> tuple[tuple[DependsOn, ...], frozenset[str]]:
        """Return the dependencies, and the names of those that may be missing."""
        item = present(fields, "depends_on")
        if item is None:
            return (), frozenset()
        if isinstance(item.value, tuple):
            return tuple(DependsOn(name) for name in dict.fromkeys(_texts(item))), frozenset()
        dependencies = []
        optional = set()
        for name, entry in item.mapping().items():
            options = {} if entry.is_null else entry.mapping()
            self._warnings.unknown_keys(
                options,
                _DEPENDENCY_KEYS,
                changed={"restart": "the service is not restarted with the other one"},
            )
            required = present(options, "required")
            if required is not None and not required.boolean():
                optional.add(name)
            dependencies.append(DependsOn(name, _condition(options)))
        return tuple(dependencies), frozenset(optional)


def _nothing_to_run(item: Item) -> ComposeError:
    return item.error(
        "the service has neither build nor image",
        hint="add `build: .` for a directory with a Balenafile, or `image: NAME`",
    )


def read_extension(fields: Mapping[str, Item]) -> Mapping[str, Value]:
    """Read `x-balenawasm`: a mapping whose content its users check."""
    item = present(fields, EXTENSION)
    if item is None:
        return {}
    return {key: entry.plain() for key, entry in item.mapping().items()}


def _stdin_from(fields: Mapping[str, Item]) -> str | None:
    """The service whose output `x-balenawasm: {stdin: service:NAME}` pipes into this one."""
    extension = present(fields, EXTENSION)
    item = None if extension is None else present(extension.mapping(), "stdin")
    if item is None:
        return None
    kind, _, name = item.text().partition(":")
    if kind != "service" or not name:
        raise item.error(
            f"{item.text()!r} is not where input comes from", hint="write service:NAME"
        )
    return name


def _condition(options: Mapping[str, Item]) -> Condition:
    item = present(options, "condition")
    if item is None:
        return Condition.STARTED
    try:
        return Condition(item.text())
    except ValueError:
        raise item.error(
            f"{item.text()!r} is not a condition",
            hint="the conditions are " + ", ".join(condition.value for condition in Condition),
        ) from None


def _words(fields: Mapping[str, Item], key: str) -> tuple[str, ...] | None:
    """Read a command: a text is split as a shell would, without variables, or a list of words."""
    item = present(fields, key)
    if item is None:
        return None
    if not isinstance(item.value, str):
        return tuple(element.scalar_text() for element in item.sequence())
    try:
        return tuple(shlex.split(item.text()))
    except ValueError as error:
        raise item.error(
            f"cannot split the command: {str(error).lower()}", hint="write it as a list of words"
        ) from error


def _texts(item: Item) -> tuple[str, ...]:
    return tuple(element.text() for element in item.sequence())


def _flag(fields: Mapping[str, Item], name: str) -> bool:
    item = present(fields, name)
    return item is not None and item.boolean()


def _working_dir(fields: Mapping[str, Item]) -> str | None:
    item = present(fields, "working_dir")
    if item is None:
        return None
    path = item.text()
    if not path.startswith("/"):
        raise item.error(f"{path!r} is not absolute", hint="write it from the root: /app")
    return path


def _hostname(fields: Mapping[str, Item]) -> str | None:
    item = present(fields, "hostname")
    if item is None:
        return None
    if not _HOSTNAME.match(item.text()):
        raise item.error(f"{item.text()!r} is not a host name")
    return item.text()


def _stop_signal(fields: Mapping[str, Item]) -> str | None:
    item = present(fields, "stop_signal")
    if item is None:
        return None
    text = item.scalar_text()
    if not _SIGNAL.match(text):
        raise item.error(f"{text!r} is not a signal", hint="write for example SIGINT")
    return text


def _duration(fields: Mapping[str, Item], key: str) -> float | None:
    item = present(fields, key)
    return None if item is None else read_duration(item)


def _restart(fields: Mapping[str, Item]) -> Restart:
    item = present(fields, "restart")
    if item is None or item.value is False:
        # YAML 1.1 reads a bare `no` as false, and files written for it may say `false`.
        return Restart()
    text = item.text()
    if match := _RETRIES.match(text):
        return Restart(RestartKind.ON_FAILURE, int(match[1]))
    try:
        return Restart(RestartKind(text))
    except ValueError:
        raise item.error(
            f"{text!r} is not a restart policy",
            hint='the policies are "no", always, on-failure, on-failure:N and unless-stopped',
        ) from None
