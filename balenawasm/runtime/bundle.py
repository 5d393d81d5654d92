"""The bundle: everything that a runner needs to know about one container, in one JSON file.

The format is described in docs/formats/bundle.md. Whoever starts a container (supervisor, `run`,
the builder) writes `containers/<id>/bundle.json`; only the runner reads it. Paths are absolute host
paths; names of files inside the container and everything a guest sees are bytes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from balenawasm.atomicfile import write_atomic
from balenawasm.record import NamedTuple
from balenawasm.runtime import jsonform

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.runtime.home import ContainerPaths

BUNDLE_VERSION = 1
_MAX_BUNDLE = 16 << 20


class BundleError(jsonform.FormError):
    """A bundle is of another version or contradicts itself."""


class MountKind(StrEnum):
    """Where a mount's files are."""

    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"


class Layer(NamedTuple):
    """One read-only layer of the image: the host path of its disk image, and its digest."""

    path: str
    digest: str


class Mount(NamedTuple):
    """Something mounted over the root file system.

    `source` is a host directory or file; for a tmpfs it is empty, or the host directory that the
    tmpfs starts as a copy of. A mount whose target is `/` is the root itself; a bundle with such a
    mount has no layers. A volume that is empty gets the image's files at `target`, unless `nocopy`.
    `size` is a tmpfs's limit in bytes; None is the default.
    """

    kind: MountKind
    target: bytes
    source: str = ""
    read_only: bool = False
    nocopy: bool = False
    size: int | None = None


class Text(NamedTuple):
    """A small file that is only in the bundle; read-only in the container."""

    path: bytes
    content: bytes


class Published(NamedTuple):
    """A container port that the outside reaches: `listener` counts the fds handed to the runner.

    `protocol` is tcp or udp.
    """

    container_port: int
    listener: int
    protocol: str = "tcp"


class TlsGrant(NamedTuple):
    """What TLS connections to a granted destination (`to`) are given: PEM files of the host, or
    empty.

    `ca` is trusted in place of the host's store; `certificate` and `key` (empty: in the same file)
    are presented for the guest. `verify` False: the guest may do without verification.
    """

    to: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


NETWORK_MODES = ("bridge", "host", "none")


class Network(NamedTuple):
    """The container's place in its project's network.

    `address` is its virtual IPv4 address; `directory` holds the network's listeners as Unix sockets
    (`<address>/tcp-<port>`); `hosts_file` maps names to addresses. `allow` lists what may be
    reached outside, `host:port` with `*` for either; empty means nothing. `mode` is one of
    NETWORK_MODES: host is the host's own network, none has a loopback only; both ignore the rest
    but for `directory` and `tls`, which is what some of the grants say about TLS. `advice` tells
    the user how to allow what was denied, with `{grant}` for the grant; empty: as for a service.
    """

    address: str
    directory: str
    hosts_file: str
    published: tuple[Published, ...] = ()
    allow: tuple[str, ...] = ()
    mode: str = "bridge"
    tls: tuple[TlsGrant, ...] = ()
    advice: str = ""


class Limits(NamedTuple):
    """What the container may use; None is no limit (docs/limits.md).

    `memory` is in bytes, for the linear memories of all processes together. `processes` are those
    of the container, `open_files` those of one process. `cpus` is how many processors' worth of
    time it gets, `cpu_weight` its share when processors are short (1 to 10000, 100 is usual),
    `cpu_time` the seconds after which it is ended. `storage` is in bytes, for the writable layer.
    """

    memory: int | None = None
    processes: int = 4096
    open_files: int = 1024
    cpus: float | None = None
    cpu_weight: int | None = None
    cpu_time: float | None = None
    storage: int | None = None

    @property
    def need_keeping(self) -> bool:
        """Whether there are some that `runtime.host_limits` has to put into effect."""
        return any(
            limit is not None for limit in (self.memory, self.cpus, self.cpu_weight, self.cpu_time)
        )


DEFAULT_LIMITS = Limits()


class LogLimits(NamedTuple):
    """How large a log grows: bytes of a file, files, and lines a second (None: any)."""

    file_bytes: int = 10 << 20
    files: int = 3
    lines_per_second: int | None = None


DEFAULT_LOG_LIMITS = LogLimits()


class Bundle(NamedTuple):
    """One container.

    `layers` are in the manifest's order: the lowest first. `program`, when set, is the host path of
    a wasm module that is run as process 1 whatever `argv[0]` names. `log` is None when the standard
    streams are passed through. `stdin` and `tty` say what process 1 gets as fd 0. `preopens` say
    which directories guests are given beside `/` (balenawasm.runtime.preopens). `shared` are host
    directories where other containers of the project can write: links there are theirs, and no
    mount's source may lead through one. `bare_environment`: process 1 gets `env` and no defaults.
    `stdin_pipe` and `stdout_pipe`: the runner is handed an end of a pipe for that, in this order
    after the listeners' fds. `output_pipe`: it is handed one end for both outputs and for lines
    about the container, and there is no log; it goes with neither of the other two.
    """

    id: str
    argv: tuple[bytes, ...]
    version: int = BUNDLE_VERSION
    project: str | None = None
    service: str | None = None
    layers: tuple[Layer, ...] = ()
    program: str | None = None
    env: tuple[bytes, ...] = ()
    cwd: bytes = b"/"
    mounts: tuple[Mount, ...] = ()
    network: Network | None = None
    hostname: str = "localhost"
    limits: Limits = DEFAULT_LIMITS
    log: str | None = None
    stdin: bool = False
    tty: bool = False
    preopens: tuple[bytes, ...] = ()
    shared: tuple[str, ...] = ()
    bare_environment: bool = False
    stdin_pipe: bool = False
    stdout_pipe: bool = False
    output_pipe: bool = False
    texts: tuple[Text, ...] = ()
    log_limits: LogLimits = DEFAULT_LOG_LIMITS

    def check(self) -> Bundle:
        """Return self; raises BundleError when the parts contradict each other."""
        if self.version != BUNDLE_VERSION:
            raise BundleError(f"bundle version {self.version} is not {BUNDLE_VERSION}")
        if not self.argv:
            raise BundleError("argv: a container needs a program")
        if self.network is not None and self.network.mode not in NETWORK_MODES:
            raise BundleError(f"network.mode: {self.network.mode!r} is not a mode")
        if not self.cwd.startswith(b"/"):
            raise BundleError("cwd: not an absolute path")
        for text in (*self.argv, *self.env, self.cwd):
            if b"\0" in text:
                raise BundleError("argv, env and cwd cannot hold a NUL byte")
        if not all(name.lstrip(b"!").startswith(b"/") for name in self.preopens):
            raise BundleError("preopens: a directory is not absolute")
        for index, mount in enumerate(self.mounts):
            if not mount.target.startswith(b"/"):
                raise BundleError(f"mounts[{index}].target: not an absolute path")
            if mount.kind is not MountKind.TMPFS and not mount.source:
                raise BundleError(f"mounts[{index}].source: only a tmpfs has none")
            if mount.target == b"/" and self.layers:
                raise BundleError(f"mounts[{index}].target: the layers are the root already")
        return self


def write_bundle(paths: ContainerPaths, bundle: Bundle) -> None:
    """Write `containers/<id>/bundle.json`, making the directory.

    Atomic, but not durable: after a power cut the bundle is made anew from the target state.
    """
    paths.directory.mkdir(mode=0o700, exist_ok=True)
    write_atomic(paths.bundle, jsonform.encode(bundle.check()), mode=0o600, durable=False)


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle; FormError says what is wrong with it, OSError when there is none."""
    with path.open("rb") as file:
        data = file.read(_MAX_BUNDLE + 1)
    if len(data) > _MAX_BUNDLE:
        raise BundleError(f"{path}: larger than {_MAX_BUNDLE} bytes")
    return jsonform.decode(Bundle, data, str(path)).check()
