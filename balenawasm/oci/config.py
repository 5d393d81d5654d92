"""Image configurations: how a container of an image runs (OCI image spec, config.md).

Which members are used, and that members without content are not written: docs/formats/image.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from balenawasm.digest import Digest, InvalidDigestError, parse_digest
from balenawasm.oci.document import Fields, Json, canonical_json, parse_object, without_empty
from balenawasm.oci.mediatypes import ARCHITECTURE, OPERATING_SYSTEM, PREOPENS_LABEL
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class History(NamedTuple):
    """One instruction of the recipe; `empty_layer` when it made no layer."""

    created_by: str
    empty_layer: bool = False


_HEALTH_NUMBERS = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


class Healthcheck(NamedTuple):
    """How to find out whether a container is well: a member of Docker's, not of OCI's.

    `test` is `("CMD", word, ...)`, `("CMD-SHELL", text)` or `("NONE",)`. Times are in nanoseconds;
    0 everywhere is the default.
    """

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    def to_members(self) -> dict[str, Json]:
        """Return the members."""
        numbers = dict(zip(_HEALTH_NUMBERS, self[1:], strict=True))
        return without_empty({"Test": list(self.test), **numbers})

    @classmethod
    def from_fields(cls, fields: Fields) -> Healthcheck:
        """Read the members; InvalidDocumentError."""
        return cls(
            fields.texts("Test"),
            *(fields.count(name) if fields.has(name) else 0 for name in _HEALTH_NUMBERS),
        )


class ImageConfig(NamedTuple):
    """The defaults of a container. Empty tuples and strings mean that nothing is set."""

    architecture: str = ARCHITECTURE
    os: str = OPERATING_SYSTEM
    created: str | None = None
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = MappingProxyType({})
    user: str = ""
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of `env` by name."""
        return dict(_split_variable(item) for item in self.env)

    @property
    def preopens(self) -> tuple[str, ...]:
        """Directories that the image's programs are given beside `/` (a label, blank-separated)."""
        return tuple(self.labels.get(PREOPENS_LABEL, "").split())

    def to_json(self) -> bytes:
        """Return the canonical bytes."""
        container: dict[str, Json] = {
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "WorkingDir": self.working_dir,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Volumes": {path: {} for path in self.volumes},
            "Labels": dict(self.labels),
            "User": self.user,
            "StopSignal": self.stop_signal,
            "Shell": list(self.shell),
            "Healthcheck": self.healthcheck.to_members() if self.healthcheck is not None else {},
        }
        history: list[Json] = [
            {"created_by": item.created_by, **without_empty({"empty_layer": item.empty_layer})}
            for item in self.history
        ]
        return canonical_json(
            {
                "architecture": self.architecture,
                "os": self.os,
                "rootfs": {"type": "layers", "diff_ids": list(self.diff_ids)},
                **without_empty(
                    {
                        "created": self.created,
                        "config": without_empty(container),
                        "history": history,
                    }
                ),
            }
        )

    @classmethod
    def from_json(cls, data: bytes, where: str = "image configuration") -> ImageConfig:
        """Read a configuration; `where` names it in an InvalidDocumentError."""
        fields = parse_object(data, where)
        container = fields.fields("config")
        return cls(
            architecture=fields.required_text("architecture"),
            os=fields.required_text("os"),
            created=fields.text("created") or None,
            env=container.texts("Env"),
            entrypoint=container.texts("Entrypoint"),
            cmd=container.texts("Cmd"),
            working_dir=container.text("WorkingDir"),
            exposed_ports=container.keys("ExposedPorts"),
            volumes=container.keys("Volumes"),
            labels=container.text_map("Labels"),
            user=container.text("User"),
            stop_signal=container.text("StopSignal"),
            shell=container.texts("Shell"),
            healthcheck=(
                Healthcheck.from_fields(container.fields("Healthcheck"))
                if container.has("Healthcheck")
                else None
            ),
            diff_ids=_diff_ids(fields.fields("rootfs")),
            history=tuple(
                History(entry.text("created_by"), entry.flag("empty_layer"))
                for entry in fields.objects("history")
            ),
        )


def _split_variable(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name, value


def _diff_ids(rootfs: Fields) -> tuple[Digest, ...]:
    try:
        return tuple(parse_digest(text) for text in rootfs.texts("diff_ids"))
    except InvalidDigestError as error:
        raise rootfs.error("diff_ids", error.message) from None
