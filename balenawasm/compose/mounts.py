"""Mounts of a service, and the project's named volumes: short and long forms.

Spec: compose specification, services, "volumes" ("Short syntax", "Long syntax"), and the
top-level element "volumes". A short form's source is a path of the host if it starts with `.`,
`/` or `~`, else the key of a named volume.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from balenawasm.compose.amounts import read_size
from balenawasm.compose.document import Item, one_or_many, present
from balenawasm.compose.environment import read_pairs
from balenawasm.compose.model import MountKind, NamedVolume, VolumeMount

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.compose.interpolate import Lookup
    from balenawasm.compose.warnings import Warnings

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")

_MODES_WITHOUT_EFFECT = frozenset(
    {"z", "Z", "cached", "delegated", "consistent", "rprivate", "private"}
)
_TMPFS_OPTIONS = frozenset(
    {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "ro", "rw", "exec", "noexec", "suid"}
    | {"nosuid", "dev", "nodev", "sync", "async", "atime", "noatime", "diratime", "nodiratime"}
)
_LONG_KEYS = frozenset(
    {"type", "source", "target", "read_only", "bind", "volume", "tmpfs", "consistency"}
)
_KINDS = {"volume": MountKind.NAMED, "bind": MountKind.BIND, "tmpfs": MountKind.TMPFS}
_OPTIONS = {
    MountKind.NAMED: {"nocopy"},
    MountKind.BIND: {"create_host_path"},
    MountKind.TMPFS: {"size"},
}
_OPTIONS_NOT_YET = {
    MountKind.NAMED: {"labels"},
    MountKind.BIND: {"propagation", "recursive", "selinux"},
    MountKind.TMPFS: {"mode"},
}
_VOLUME_KEYS = frozenset({"name", "external", "labels", "driver", "driver_opts"})
_FORM_HINT = "a mount is written NAME:/path, ./directory:/path or ./directory:/path:ro"


class MountReader:
    """Reads mounts of one project. `directory` is what relative host paths count from."""

    def __init__(self, directory: Path, lookup: Lookup, warnings: Warnings) -> None:
        self._directory = directory
        self._lookup = lookup
        self._warnings = warnings

    def read(self, volumes: Item | None, tmpfs: Item | None) -> tuple[VolumeMount, ...]:
        """Read a service's `volumes` and `tmpfs`; ComposeError, also when a target stands twice."""
        mounts: dict[str, VolumeMount] = {}
        for element in () if volumes is None else volumes.sequence():
            if isinstance(element.value, str):
                _add(mounts, element, self._read_short(element))
            else:
                _add(mounts, element, self._read_long(element))
        for element in () if tmpfs is None else one_or_many(tmpfs):
            _add(mounts, element, _read_tmpfs(element))
        return tuple(mounts.values())

    def _read_short(self, item: Item) -> VolumeMount:
        parts = item.text().split(":")
        if len(parts) > 3 or not all(parts):
            raise item.error(f"{item.text()!r} is not a mount", hint=_FORM_HINT)
        if len(parts) == 1:
            return VolumeMount(MountKind.ANONYMOUS, None, _target(item, parts[0]))
        source, target = parts[:2]
        options = parts[2].split(",") if len(parts) == 3 else []
        read_only = self._read_mode(item, options)
        kind = MountKind.BIND if source[0] in "./~" else MountKind.NAMED
        if kind is MountKind.BIND:
            source = self._host_path(item, source)
        else:
            _check_volume_name(item, source)
        nocopy = "nocopy" in options
        return VolumeMount(kind, source, _target(item, target), read_only, nocopy=nocopy)

    def _read_mode(self, item: Item, options: list[str]) -> bool:
        """Return whether the mount is read-only; options without effect here are let pass."""
        read_only = False
        for option in options:
            if option in ("ro", "rw"):
                read_only = option == "ro"
            elif option != "nocopy" and option not in _MODES_WITHOUT_EFFECT:
                raise item.error(
                    f"{option!r} is not a mode of a mount",
                    hint="the modes are ro and rw",
                )
        return read_only

    def _read_long(self, item: Item) -> VolumeMount:
        fields = {key: value for key, value in item.mapping().items() if not value.is_null}
        self._warnings.unknown_keys(fields, _LONG_KEYS)
        if "type" not in fields:
            raise item.error("the mount has no type", hint="the types are volume, bind and tmpfs")
        kind = _KINDS.get(fields["type"].text())
        if kind is None:
            raise fields["type"].error(
                f"mounts of the type {fields['type'].text()!r} are not supported",
                hint="the types are volume, bind and tmpfs",
            )
        if "target" not in fields:
            raise item.error("the mount has no target", hint="target is a path in the container")
        target = _target(fields["target"], fields["target"].text())
        read_only = fields["read_only"].boolean() if "read_only" in fields else False
        source = fields.get("source")
        options = self._options(fields, kind)
        match kind:
            case MountKind.TMPFS:
                if source is not None:
                    raise source.error("a tmpfs has no source")
                return VolumeMount(kind, None, target, read_only, size=_size(options))
            case MountKind.BIND:
                if source is None:
                    raise item.error("a bind mount needs a source")
                create = options.get("create_host_path")
                return VolumeMount(
                    kind,
                    self._host_path(source, source.text()),
                    target,
                    read_only,
                    create_host_path=create is None or create.boolean(),
                )
        nocopy = "nocopy" in options and options["nocopy"].boolean()
        if source is None:
            return VolumeMount(MountKind.ANONYMOUS, None, target, read_only, nocopy=nocopy)
        _check_volume_name(source, source.text())
        return VolumeMount(kind, source.text(), target, read_only, nocopy=nocopy)

    def _options(self, fields: Mapping[str, Item], kind: MountKind) -> Mapping[str, Item]:
        """Return the options of the mount's own kind, and warn of those without effect here."""
        item = fields.get(kind.value)
        if item is None:
            return {}
        options = {key: value for key, value in item.mapping().items() if not value.is_null}
        self._warnings.unknown_keys(
            options,
            _OPTIONS[kind],
            not_yet=_OPTIONS_NOT_YET[kind],
            changed={"subpath": "the whole volume is mounted"} if kind is MountKind.NAMED else {},
        )
        return options

    def _host_path(self, item: Item, text: str) -> str:
        if text.startswith("~"):
            home = self._lookup("HOME")
            if text[1:2] not in ("", "/") or not home:
                raise item.error(
                    f"{text!r} is not a path of this machine",
                    hint="write the path out, or use ~/ with HOME set",
                )
            text = home + text[1:]
        return posixpath.normpath(self._directory / text)


def _add(mounts: dict[str, VolumeMount], item: Item, mount: VolumeMount) -> None:
    if mount.target in mounts:
        raise item.error(f"two mounts have the target {mount.target}")
    mounts[mount.target] = mount


def _read_tmpfs(item: Item) -> VolumeMount:
    """Read `/path` or `/path:size=64m,ro`; options of Linux without effect here are let pass."""
    path, _, options = item.text().partition(":")
    size = None
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name not in _TMPFS_OPTIONS:
            raise item.error(
                f"{name!r} is not an option of a tmpfs", hint="write for example /run:size=64m"
            )
        if name == "size":
            size = read_size(item, value)
    read_only = "ro" in options.split(",")
    return VolumeMount(MountKind.TMPFS, None, _target(item, path), read_only, size=size)


def read_volumes(item: Item, project_name: str, warnings: Warnings) -> dict[str, NamedVolume]:
    """Read the top-level `volumes`; raises ComposeError."""
    volumes: dict[str, NamedVolume] = {}
    for key, entry in item.mapping().items():
        _check_volume_name(entry, key)
        fields = {} if entry.is_null else entry.mapping()
        warnings.unknown_keys(fields, _VOLUME_KEYS)
        name_item = present(fields, "name")
        external, external_name = _external(fields)
        if (driver := present(fields, "driver")) and driver.text() != "local":
            warnings.add_at(driver, "is not supported yet: the volume lies on this machine")
        if options := present(fields, "driver_opts"):
            warnings.add_at(options, "is not supported yet: the volume is a plain directory")
        labels = present(fields, "labels")
        if name_item is not None:
            _check_volume_name(name_item, name_item.text())
            name = name_item.text()
        else:
            name = external_name or (key if external else f"{project_name}_{key}")
        volumes[key] = NamedVolume(
            key,
            name,
            external,
            {name: value or "" for name, value in read_pairs(labels).items()} if labels else {},
        )
    return volumes


def _external(fields: Mapping[str, Item]) -> tuple[bool, str | None]:
    """Read `external: true` and its old form `external: {name: …}`."""
    item = present(fields, "external")
    if item is None:
        return False, None
    if isinstance(item.value, Mapping):
        name = present(item.value, "name")
        if name is not None:
            _check_volume_name(name, name.text())
        return True, None if name is None else name.text()
    return item.boolean(), None


def _check_volume_name(item: Item, name: str) -> None:
    if not _VOLUME_NAME.match(name):
        raise item.error(
            f"{name!r} cannot be the name of a volume",
            hint="a name has letters, digits, '_', '.' and '-'; a host path starts with ./ or /",
        )


def _target(item: Item, text: str) -> str:
    if not text.startswith("/"):
        raise item.error(f"the target {text!r} is not absolute", hint=_FORM_HINT)
    # POSIX leaves the meaning of two leading slashes open, and normpath keeps them.
    return "/" + posixpath.normpath(text).lstrip("/")


def _size(options: Mapping[str, Item]) -> int | None:
    item = options.get("size")
    return None if item is None else read_size(item)
