"""What `run` may be told, as one table: click's command is made from it, and so is a quick reader.

Importing click takes as long as everything else between `balenawasm run` and the guest's first
instruction. So a command line that is written plainly (`--name VALUE`, `--name=VALUE`, `-n VALUE`,
flags one by one) is read here; anything else, above all whatever needs a message, is click's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balenawasm.cli.values import (
    parse_count,
    parse_cpus,
    parse_network,
    parse_port,
    parse_seconds,
    parse_size,
    parse_tmpfs,
    parse_ulimit,
    parse_volume,
)
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.cli.values import TmpfsMount
    from balenawasm.runtime.ports import PublishedPort


class Option(NamedTuple):
    """One option; without `metavar` it is a flag. `convert` raises ValueError."""

    names: tuple[str, ...]
    field: str
    help: str
    metavar: str | None = None
    convert: Callable[[str], object] = str
    multiple: bool = False


OPTIONS = (
    Option(
        ("-e", "--env"),
        "variables",
        "Set a variable; K alone takes this environment's value.",
        "K=V",
        multiple=True,
    ),
    Option(
        ("-v", "--volume"),
        "volumes",
        "Mount a directory, file or named volume; DIR:/ is a wasm file's root.",
        "SRC:DST[:RO]",
        parse_volume,
        multiple=True,
    ),
    Option(
        ("--tmpfs",),
        "tmpfs",
        "Mount a file system in memory; OPT: size=64m, and from=DIR: a copy of DIR.",
        "DST[:OPT]",
        parse_tmpfs,
        multiple=True,
    ),
    Option(
        ("-p", "--publish"),
        "ports",
        "Publish a port of the container.",
        "HOST:GUEST",
        parse_port,
        multiple=True,
    ),
    Option(
        ("--allow",),
        "allow",
        'Allow traffic to a host outside: tcp://HOST:PORT, udp://HOST:PORT, or "all".',
        "GRANT",
        multiple=True,
    ),
    Option(
        ("--network",),
        "network",
        "bridge (a network of its own), host (this machine's), or none.",
        "MODE",
        parse_network,
    ),
    Option(
        ("--unsetenv-all",),
        "bare_environment",
        "Give the program no variables but those of -e.",
    ),
    Option(("-w", "--workdir"), "workdir", "The working directory.", "DIR"),
    Option(("-i", "--interactive"), "interactive", "Pass standard input on."),
    Option(("-t", "--tty"), "tty", "Give the program this terminal."),
    Option(
        ("--memory",),
        "memory",
        "The most memory its processes may have together: 64m, 1g.",
        "SIZE",
        parse_size,
    ),
    Option(("--cpus",), "cpus", "So many processors' time: 0.5.", "NUMBER", parse_cpus),
    Option(
        ("--cpu-shares",),
        "cpu_shares",
        "Its share when processors are short; 1024 is usual.",
        "NUMBER",
        parse_count,
    ),
    Option(
        ("--cpu-time",),
        "cpu_time",
        "End it after so much processor time: 60s, 5m.",
        "TIME",
        parse_seconds,
    ),
    Option(("--pids-limit",), "pids_limit", "The most processes.", "NUMBER", parse_count),
    Option(
        ("--ulimit",),
        "ulimits",
        "nofile: the most open files of a process.",
        "nofile=NUMBER",
        parse_ulimit,
        multiple=True,
    ),
    Option(
        ("--storage",),
        "storage",
        "The most it may write into its root file system: 64m.",
        "SIZE",
        parse_size,
    ),
    Option(("--entrypoint",), "entrypoint", "Run CMD instead of the image's entry point.", "CMD"),
    Option(("--rm",), "remove", "Without effect: the container is always removed."),
)
"""In the order of `--help`."""

_BY_NAME = {name: option for option in OPTIONS for name in option.names}


class RunOptions(NamedTuple):
    """A `run` command line, understood."""

    image: str
    arguments: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    volumes: tuple[tuple[str, str, bool], ...] = ()
    tmpfs: tuple[TmpfsMount, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    allow: tuple[str, ...] = ()
    network: str | None = None
    workdir: str | None = None
    interactive: bool = False
    tty: bool = False
    memory: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpu_time: float | None = None
    pids_limit: int | None = None
    ulimits: tuple[int, ...] = ()
    storage: int | None = None
    entrypoint: str | None = None
    bare_environment: bool = False
    remove: bool = False


def read_plainly(arguments: Sequence[str]) -> RunOptions | None:
    """Read the words after `balenawasm`; None unless this is a `run` without anything special."""
    if not arguments or arguments[0] != "run":
        return None
    values: dict[str, Any] = {}
    index = 1
    while index < len(arguments) and arguments[index].startswith("-"):
        name, equals, text = arguments[index].partition("=")
        option = _BY_NAME.get(name)
        index += 1
        if option is None or (equals and not name.startswith("--")):
            return None
        if option.metavar is None:
            if equals:
                return None
            values[option.field] = True
            continue
        if not equals:
            if index == len(arguments):
                return None
            text = arguments[index]
            index += 1
        try:
            value = option.convert(text)
        except ValueError:
            return None
        before = values.get(option.field, ())
        values[option.field] = (*before, value) if option.multiple else value
    if index == len(arguments) or not arguments[index]:
        return None
    return RunOptions(arguments[index], tuple(arguments[index + 1 :]), **values)
