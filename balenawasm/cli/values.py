"""Values on the command line: sizes, `-v`, `-p`, `-e`. ValueError says what is wrong with one.

No click in here: `run` reads most command lines without it.
"""

from __future__ import annotations

import os
import re

from balenawasm.record import NamedTuple
from balenawasm.runtime.ports import PublishedPort

_SIZE = re.compile(r"([0-9]+)([bkmg]?)b?\Z", re.IGNORECASE)
_TIME = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh]?)\Z")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_FACTOR = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LAST_PORT = 65535


def parse_size(text: str) -> int:
    """Bytes with docker's units: 65536, 512k, 64m, 1g."""
    found = _SIZE.match(text)
    if not found or not int(found[1]):
        raise ValueError(f"{text!r} is not a size; write for instance 64m or 1g")
    return int(found[1]) * _FACTOR[found[2].lower()]


def parse_cpus(text: str) -> float:
    """A number of processors: 0.5, 2."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.01 <= number <= 1024:
        raise ValueError(f"{text!r} is not a number of processors; write for instance 0.5")
    return number


def parse_count(text: str) -> int:
    """A whole number from 1 on."""
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) == int(text):
        raise ValueError(f"{text!r} is not a number from 1 on")
    return int(text)


def parse_seconds(text: str) -> float:
    """A time in seconds: 90, 90s, 1.5m, 1h."""
    found = _TIME.match(text)
    if not found or not float(found[1]):
        raise ValueError(f"{text!r} is not a time; write for instance 60s or 5m")
    return float(found[1]) * _SECONDS[found[2]]


def parse_ulimit(text: str) -> int:
    """`nofile=NUMBER`, or `nofile=SOFT:HARD`, of which the first counts."""
    name, _, numbers = text.partition("=")
    soft = numbers.partition(":")[0]
    if (
        name != "nofile"
        or not (soft.isascii() and soft.isdecimal())
        or not 8 <= int(soft[:9]) <= 1 << 20
    ):
        raise ValueError(f"{text!r} is not a limit; write for instance nofile=256")
    return int(soft)


def parse_volume(text: str) -> tuple[str, str, bool]:
    """`SRC:DST[:ro|:rw]` → (source, target, read only); the target has to be absolute."""
    parts = text.split(":")
    mode = parts.pop() if len(parts) == 3 else "rw"
    if len(parts) != 2 or not all(parts) or mode not in ("ro", "rw"):
        raise ValueError(f"{text!r} is not SRC:DST or SRC:DST:ro")
    if not parts[1].startswith("/"):
        raise ValueError(f"{parts[1]!r} in {text!r} is not absolute in the container")
    return parts[0], parts[1], mode == "ro"


class TmpfsMount(NamedTuple):
    """A file system in memory at `target`; `source`, if any, is what it starts as a copy of."""

    target: str
    size: int | None = None
    source: str = ""


def parse_tmpfs(text: str) -> TmpfsMount:
    """`DST[:OPTION,…]` with docker's `size=64m`, and `from=DIR`, which has to be the last."""
    target, _, options = text.partition(":")
    if not target.startswith("/"):
        raise ValueError(f"{target!r} in {text!r} is not absolute in the container")
    options, separator, source = options.partition("from=")
    if (separator and not source) or (options and separator and not options.endswith(",")):
        raise ValueError(f"{text!r} is not DST, DST:size=64m or DST:from=DIR")
    size = None
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name != "size":
            raise ValueError(f"{name!r} in {text!r} is not an option; size and from are")
        size = parse_size(value)
    return TmpfsMount(target, size, source)


def parse_port(text: str) -> PublishedPort:
    """`[IP:][HOST:]GUEST[/tcp|/udp]`; an IPv6 address stands in brackets.

    Without HOST the system chooses a free port.
    """
    port, _, protocol = text.partition("/")
    host_ip, _, rest = port.rpartition("]:") if port.startswith("[") else ("", "", port)
    parts = rest.split(":")
    if not host_ip and len(parts) == 3:
        host_ip = parts.pop(0)
    numbers = [int(part) for part in parts if part.isdecimal()]
    wrong = len(parts) > 2 or len(numbers) != len([part for part in parts if part])
    if wrong or not parts[-1] or any(number > _LAST_PORT for number in numbers):
        raise ValueError(f"{text!r} is not GUEST, HOST:GUEST or IP:HOST:GUEST")
    if protocol not in ("", "tcp", "udp"):
        raise ValueError(f"{protocol!r} in {text!r} is not a protocol; tcp and udp are")
    return PublishedPort(
        container_port=numbers[-1],
        host_port=numbers[0] if len(numbers) == 2 else None,
        host_ip=host_ip.lstrip("["),
        protocol=protocol or "tcp",
    )


def parse_network(text: str) -> str:
    """`bridge`, `host` or `none`."""
    if text not in ("bridge", "host", "none"):
        raise ValueError(f"{text!r} is not a network; bridge, host and none are")
    return text


def variable(text: str) -> str:
    """`K=V` as it is; `K` alone with the value from this environment, as docker does."""
    return text if "=" in text else f"{text}={os.environ.get(text, '')}"
