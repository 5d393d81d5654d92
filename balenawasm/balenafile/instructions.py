"""The instructions of a Balenafile, typed.

After :mod:`decode` the texts are as written, with quotes and variables; after
:func:`expand.expand` they are plain values. What can only be understood then (ports, file modes)
is a property that raises BalenafileError. RUN, CMD, ENTRYPOINT and HEALTHCHECK are never expanded:
their variables are the shell's business (Dockerfile reference, "Environment replacement").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from balenawasm.balenafile.source import BalenafileError, NotYetSupportedError, SourceRange

SCRATCH = "scratch"
"""The name of the empty base image; Docker reserves it."""

SCRIPT_DIRECTORY = "/dev/pipes"
"""Where a RUN finds the script that it is; as with BuildKit."""

NETWORK_MODES = ("default", "none", "host")
"""What `RUN --network=` takes."""

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([A-Za-z]+))?\Z", re.ASCII)
_MODE = re.compile(r"0?[0-7]{3,4}\Z")


class ExposedPort(NamedTuple):
    """A port a service listens on; `protocol` is "tcp" or "udp"."""

    number: int
    protocol: str


class ArgDeclaration(NamedTuple):
    """One name of an ARG instruction; `default` is None for a bare name."""

    name: str
    default: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """Any instruction: `keyword` is in upper case, `escape` the file's escape character."""

    where: SourceRange
    keyword: str
    escape: str = "\\"


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """`FROM [--platform=P] IMAGE [AS ALIAS]`; `alias` is in lower case."""

    image: str
    alias: str | None = None
    platform: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Transfer(Instruction):
    """What COPY and ADD share."""

    sources: tuple[str, ...]
    destination: str
    chmod: str | None = None
    chown: str | None = None

    @property
    def mode(self) -> int | None:
        """Permission bits that `--chmod` gives, None without it; after expansion only.

        Raises BalenafileError unless the mode is octal.
        """
        if self.chmod is None:
            return None
        if not _MODE.match(self.chmod):
            raise BalenafileError(
                f"--chmod={self.chmod} is not an octal mode",
                self.where,
                hint="write the mode in octal, for example --chmod=755",
            )
        return int(self.chmod, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(_Transfer):
    """`COPY [--from=STAGE] [--chmod=M] [--chown=U:G] SOURCE… DESTINATION`.

    `from_stage` is never expanded.
    """

    from_stage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(_Transfer):
    """`ADD [--checksum=DIGEST] [--chmod=M] [--chown=U:G] SOURCE… DESTINATION`."""

    checksum: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """`WORKDIR PATH`; a relative path counts from the working directory so far."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """`ENV NAME=VALUE…` or `ENV NAME VALUE`, in the order of the file."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """`ARG NAME[=DEFAULT]…`."""

    declarations: tuple[ArgDeclaration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    """`LABEL NAME=VALUE…` or `LABEL NAME VALUE`, in the order of the file."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """`EXPOSE PORT[-PORT][/PROTOCOL]…`; `specifications` are the words."""

    specifications: tuple[str, ...]

    @property
    def ports(self) -> tuple[ExposedPort, ...]:
        """Every single port, ranges taken apart; after expansion only. Raises BalenafileError."""
        return tuple(port for word in self.specifications for port in parse_ports(word, self.where))


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    """`VOLUME PATH…` or the JSON form."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command(Instruction):
    """A command line: `shell` as one text, or `exec` as separate words; one of them is None."""

    shell: str | None = None
    exec: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(_Command):
    """`CMD COMMAND` or `CMD ["program", "argument"]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(_Command):
    """`ENTRYPOINT COMMAND` or `ENTRYPOINT ["program", "argument"]`; `[]` clears the base's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(_Command):
    """`RUN [--network=MODE] COMMAND` or `RUN ["program", "argument"]`; MODE is one of
    NETWORK_MODES, None without the flag.

    `script` is a here-document that names its interpreter (`#!`): a program of its own, which
    `exec` has the path of, and whose file the builder has to provide.
    """

    network: str | None = None
    script: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(_Command):
    """`HEALTHCHECK [OPTIONS] CMD COMMAND`, or `HEALTHCHECK NONE`: then both forms are None.

    Times are in nanoseconds, as in image configurations; None without the option.
    """

    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """`SHELL ["program", "argument"]`: what the shell forms further down are run with."""

    words: tuple[str, ...]


def parse_ports(word: str, where: SourceRange) -> tuple[ExposedPort, ...]:
    """Read `80`, `80/tcp`, `8000-8010` or `8000-8010/udp`; raises BalenafileError otherwise."""
    match = _PORT.match(word)
    if match is None:
        hint = "a port is written 80, 80/udp or 8000-8010"
        if ":" in word:
            hint = (
                "EXPOSE names the port inside only; publish it with `ports` in balena-compose.yml"
            )
        raise BalenafileError(f"{word!r} is not a port", where, hint=hint)
    first = int(match[1])
    last = int(match[2] or first)
    protocol = (match[3] or "tcp").lower()
    if protocol == "sctp":
        raise NotYetSupportedError("SCTP ports are not supported yet", where)
    if protocol not in ("tcp", "udp"):
        raise BalenafileError(
            f"{protocol!r} is not a protocol", where, hint="the protocols are tcp and udp"
        )
    if not 1 <= first <= last <= 65535:
        raise BalenafileError(
            f"{word!r} is not a port or a range of ports", where, hint="ports go from 1 to 65535"
        )
    return tuple(ExposedPort(number, protocol) for number in range(first, last + 1))
