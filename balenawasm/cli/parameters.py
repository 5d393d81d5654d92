"""Types of command line values: sizes, `-v`, `-p`, `-e`."""

from __future__ import annotations

import os
import re

import click

from balenawasm.runtime.ports import PublishedPort

_SIZE = re.compile(r"([0-9]+)([bkmg]?)b?\Z", re.IGNORECASE)
_FACTOR = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LAST_PORT = 65535


class SizeType(click.ParamType[int]):
    """Bytes with docker's units: 65536, 512k, 64m, 1g."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        found = _SIZE.match(str(value))
        if not found or not int(found[1]):
            self.fail(f"{value!r} is not a size; write for instance 64m or 1g", param, ctx)
        return int(found[1]) * _FACTOR[found[2].lower()]


class VolumeType(click.ParamType[tuple[str, str, bool]]):
    """`SRC:DST[:ro|:rw]` → (source, target, read only)."""

    name = "SRC:DST[:ro]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str, bool]:
        """Split the text; the target has to be absolute."""
        if isinstance(value, tuple):
            source, target, read_only = value
            return source, target, read_only
        parts = str(value).split(":")
        mode = parts.pop() if len(parts) == 3 else "rw"
        if len(parts) != 2 or not all(parts) or mode not in ("ro", "rw"):
            self.fail(f"{value!r} is not SRC:DST or SRC:DST:ro", param, ctx)
        if not parts[1].startswith("/"):
            self.fail(f"{parts[1]!r} in {value!r} is not absolute in the container", param, ctx)
        return parts[0], parts[1], mode == "ro"


class PortType(click.ParamType[PublishedPort]):
    """`[IP:][HOST:]GUEST[/tcp]`; without HOST the system chooses a free port."""

    name = "HOST:GUEST"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> PublishedPort:
        """Return the port; an IPv6 address stands in brackets."""
        if isinstance(value, PublishedPort):
            return value
        text, _, protocol = str(value).partition("/")
        host_ip, _, rest = text.rpartition("]:") if text.startswith("[") else ("", "", text)
        parts = rest.split(":")
        if not host_ip and len(parts) == 3:
            host_ip = parts.pop(0)
        numbers = [int(part) for part in parts if part.isdecimal()]
        wrong = len(parts) > 2 or len(numbers) != len([part for part in parts if part])
        if wrong or not parts[-1] or any(number > _LAST_PORT for number in numbers):
            self.fail(f"{value!r} is not GUEST, HOST:GUEST or IP:HOST:GUEST", param, ctx)
        return PublishedPort(
            container_port=numbers[-1],
            host_port=numbers[0] if len(numbers) == 2 else None,
            host_ip=host_ip.lstrip("["),
            protocol=protocol or "tcp",
        )


SIZE = SizeType()
VOLUME = VolumeType()
PORT = PortType()


def variable(text: str) -> str:
    """`K=V` as it is; `K` alone with the value from this environment, as docker does."""
    return text if "=" in text else f"{text}={os.environ.get(text, '')}"
