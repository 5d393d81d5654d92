"""What a service may use of the machine, and how large its log grows.

Spec: compose specification, services, "mem_limit", "cpus", "cpu_shares", "pids_limit", "ulimits",
"storage_opt", "logging", and Compose Deploy Specification, "resources". Settings that compose does
not have are in `x-balenawasm`: `storage`, `cpu_time`, `log_rate`. What happens at each limit is in
docs/limits.md.

A limit that is said in two places must be the same in both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from balenawasm.compose.amounts import cpu_weight, read_duration, read_size
from balenawasm.compose.document import Item, present
from balenawasm.compose.model import Limits
from balenawasm.compose.warnings import EXTENSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balenawasm.compose.warnings import Warnings

T = TypeVar("T")

LIMIT_KEYS = frozenset(
    [
        *("mem_limit", "cpus", "cpu_shares", "pids_limit", "ulimits", "storage_opt"),
        *("logging", "deploy"),
    ]
)
"""The keys of a service that are read here."""

_PAGE = 64 << 10
_MOST_CPUS = 1024
_MOST_FILES = 1 << 20
_MOST_PROCESSES = 1 << 22
_MOST_LOG_FILES = 100
_LEAST_LOG = 4 << 10
_USUAL_SHARES = 1024
_RATE = re.compile(r"(\d{1,9})(?:/s)?\Z", re.ASCII)

_DEPLOY_CHANGED = {
    "mode": "the service runs once",
    "replicas": "the service runs once",
    "restart_policy": "the service's `restart` decides",
}
_DEPLOY_NOT_YET = frozenset(
    ["endpoint_mode", "labels", "placement", "rollback_config", "update_config"]
)
_OTHER_ULIMITS = frozenset(
    [
        *("as", "core", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nproc", "rss"),
        *("rtprio", "rttime", "sigpending", "stack"),
    ]
)


def read_limits(fields: Mapping[str, Item], warnings: Warnings) -> Limits:
    """Read a service's limits; ComposeError for a value that is wrong or contradicts another."""
    deploy = _deploy_limits(fields, warnings)
    ulimits = _ulimits(fields, warnings)
    own = _mapping(fields, EXTENSION)
    log_size, log_files = _logging(fields, warnings)
    return Limits(
        memory=_once(_memory(item) for item in _items(fields, "mem_limit", deploy, "memory")),
        cpus=_once(_cpus(item) for item in _items(fields, "cpus", deploy, "cpus")),
        cpu_weight=_weight(fields),
        cpu_time=_once(
            (*map(_cpu_time, _items(own, "cpu_time")), *map(_cpu_seconds, _items(ulimits, "cpu")))
        ),
        processes=_once(_processes(item) for item in _items(fields, "pids_limit", deploy, "pids")),
        open_files=_once(map(_open_files, _items(ulimits, "nofile"))),
        storage=_once(
            _storage(item)
            for item in (*_items(own, "storage"), *_items(_storage_options(fields), "size"))
        ),
        log_bytes=log_size,
        log_files=log_files,
        log_rate=_once(map(_rate, _items(own, "log_rate"))),
    )


_Found = tuple[Item, T]


def _once(found: Iterable[_Found[T | None]]) -> T | None:
    """The one value, wherever it is said."""
    values = list(found)
    for item, value in values[1:]:
        if value != values[0][1]:
            raise item.error(
                f"it is said otherwise in {values[0][0].path}", hint="leave one of them out"
            )
    return values[0][1] if values else None


def _items(*places: Mapping[str, Item] | str) -> list[Item]:
    """The entries `key` of mappings, as far as they are there: mapping, key, mapping, key …"""
    found = []
    for fields, key in zip(places[::2], places[1::2], strict=True):
        assert isinstance(fields, Mapping)  # noqa: S101 - our own calls
        assert isinstance(key, str)  # noqa: S101
        item = present(fields, key)
        if item is not None:
            found.append(item)
    return found


def _mapping(fields: Mapping[str, Item], key: str) -> Mapping[str, Item]:
    item = present(fields, key)
    return {} if item is None else item.mapping()


def _deploy_limits(fields: Mapping[str, Item], warnings: Warnings) -> Mapping[str, Item]:
    deploy = _mapping(fields, "deploy")
    warnings.unknown_keys(deploy, {"resources"}, not_yet=_DEPLOY_NOT_YET, changed=_DEPLOY_CHANGED)
    resources = _mapping(deploy, "resources")
    warnings.unknown_keys(
        resources, {"limits"}, changed={"reservations": "nothing is kept free for the service"}
    )
    limits = _mapping(resources, "limits")
    warnings.unknown_keys(limits, {"cpus", "memory", "pids"})
    return limits


def _ulimits(fields: Mapping[str, Item], warnings: Warnings) -> dict[str, Item]:
    """The entries; of a soft and a hard limit the soft one counts, for no guest can raise it."""
    found = {}
    for key, item in _mapping(fields, "ulimits").items():
        value = item
        if isinstance(item.value, Mapping):
            soft = present(item.value, "soft")
            if soft is None or present(item.value, "hard") is None:
                raise item.error("a limit has `soft` and `hard`", hint="or write one number")
            value = soft
        if key in ("nofile", "cpu"):
            found[key] = value
        elif key in _OTHER_ULIMITS:
            advice = {"nproc": ": use pids_limit", "stack": ": a guest has 4 MiB"}.get(key, "")
            warnings.add_at(item, f"has no effect{advice}")
        else:
            warnings.add_at(item, "is not supported and is ignored")
    return found


def _storage_options(fields: Mapping[str, Item]) -> Mapping[str, Item]:
    options = _mapping(fields, "storage_opt")
    for key, item in options.items():
        if key != "size":
            raise item.error(f"{key!r} is not an option of the storage", hint="write size: 64m")
    return options


def _logging(fields: Mapping[str, Item], warnings: Warnings) -> tuple[int | None, int | None]:
    logging = _mapping(fields, "logging")
    warnings.unknown_keys(logging, {"driver", "options"})
    driver = present(logging, "driver")
    if driver is not None and driver.text() not in ("json-file", "local"):
        warnings.add_at(driver, "has no effect: logs are kept in files (`balenawasm logs`)")
    options = _mapping(logging, "options")
    warnings.unknown_keys(options, {"max-size", "max-file"})
    size, files = present(options, "max-size"), present(options, "max-file")
    size_bytes = None
    if size is not None and (size_bytes := read_size(size)) < _LEAST_LOG:
        raise size.error("a log file has at least 4k", hint="write for example 10m")
    number = None
    if files is not None and not 1 <= (number := files.integer()) <= _MOST_LOG_FILES:
        raise files.error(f"there are 1 to {_MOST_LOG_FILES} log files")
    return size_bytes, number


def _memory(item: Item) -> _Found[int | None]:
    """0 is no limit, as in Docker."""
    size = read_size(item)
    if 0 < size < _PAGE:
        raise item.error("a program needs at least 64k of memory", hint="write for example 64m")
    return item, size or None


def _storage(item: Item) -> _Found[int | None]:
    return item, read_size(item)


def _cpus(item: Item) -> _Found[float | None]:
    """0 is no limit, as in Docker."""
    try:
        number = float(item.scalar_text())
    except ValueError:
        number = math.nan
    if not (number == 0 or 0.01 <= number <= _MOST_CPUS):
        raise item.error(
            f"{item.scalar_text()!r} is not a number of processors",
            hint=f"write for example 0.5; the least is 0.01, the most {_MOST_CPUS}",
        )
    return item, number or None


def _weight(fields: Mapping[str, Item]) -> int | None:
    """0 is the usual share, as in Docker."""
    item = present(fields, "cpu_shares")
    if item is None:
        return None
    shares = item.integer()
    if shares < 0:
        raise item.error("shares are not negative", hint=f"{_USUAL_SHARES} is what others have")
    return cpu_weight(shares) if shares else None


def _cpu_time(item: Item) -> _Found[float | None]:
    seconds = read_duration(item)
    if seconds <= 0:
        raise item.error("the time is not positive", hint="write for example 60s")
    return item, seconds


def _cpu_seconds(item: Item) -> _Found[float | None]:
    """-1 is no limit."""
    seconds = item.integer()
    if seconds < 1 and seconds != -1:
        raise item.error("the time is at least 1 second")
    return item, None if seconds == -1 else float(seconds)


def _processes(item: Item) -> _Found[int | None]:
    """-1 is the default, which is a limit, too."""
    number = item.integer()
    if number != -1 and not 1 <= number <= _MOST_PROCESSES:
        raise item.error("a container has at least one process", hint="write for example 64")
    return item, None if number == -1 else number


def _open_files(item: Item) -> _Found[int | None]:
    """-1 is the most there is."""
    number = item.integer()
    if number != -1 and not 8 <= number <= _MOST_FILES:
        raise item.error(f"a process has 8 to {_MOST_FILES} open files")
    return item, _MOST_FILES if number == -1 else number


def _rate(item: Item) -> _Found[int | None]:
    match = _RATE.match(item.scalar_text())
    if match is None or not int(match[1]):
        raise item.error(
            f"{item.scalar_text()!r} is not a rate", hint="write lines a second: 1000/s"
        )
    return item, int(match[1])
