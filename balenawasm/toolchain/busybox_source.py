"""BusyBox's source: Debian's package with Debian's patches, ours, and our configuration.

`busybox-wasm/` in this repository has what is ours: `config`, the difference from `make defconfig`,
and `patches/`, applied in the order of their names. Configuring runs BusyBox's own make natively
and needs make and a C compiler for the host.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.toolchain.archives import unpack_tar
from balenawasm.toolchain.artifacts import ToolchainError, digest_of
from balenawasm.toolchain.debian_source import DebianSource, fetch_source, unpack_source
from balenawasm.toolchain.patches import apply_patch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest

_UPSTREAM: Final = "busybox_1.35.0.orig.tar.bz2"
_DEBIAN: Final = "busybox_1.35.0-4+deb12u1.debian.tar.xz"
SOURCE: Final = DebianSource(
    "busybox",
    "1:1.35.0-4+deb12u1",
    {
        _UPSTREAM: "faeeb244c35a348a334f4a59e44626ee870fb07b6884d68c10ae8bc19f83a694",
        _DEBIAN: "1cacbe095ef4880ea7879933c8e3c5075d1527cd6fbcb626a9b41e5daefd1a46",
    },
)
PART: Final = Path(__file__).parents[2] / "busybox-wasm"
"""What is ours of BusyBox."""

_MAKE_SECONDS: Final = 900
_SHOWN_LINES: Final = 12
_OPTION: Final = re.compile(r"^(?:# )?(CONFIG_\w+)(?:=.*| is not set)$")


class BusyBoxError(ToolchainError):
    """BusyBox cannot be configured or built."""


def source_digest() -> Digest:
    """Return the digest of everything that the configured source is made from."""
    return digest_of(str(SOURCE), *SOURCE.files.values(), PART / "config", PART / "patches", "1")


def unpack_busybox(
    target: Path, downloads: Path, environment: Mapping[str, str], reporter: Reporter
) -> None:
    """Fetch the package and unpack it, patched, into a folder that is made.

    Raises ToolchainError, OSError.
    """
    files = fetch_source(SOURCE, downloads, environment, reporter)
    unpack_source(files[_UPSTREAM], target)
    with tarfile.open(files[_DEBIAN]) as archive:
        unpack_tar(archive, target)
    for patch in (*_debian_patches(target), *sorted((PART / "patches").glob("*.patch"))):
        apply_patch(patch.read_text(encoding="utf-8", errors="surrogateescape"), target, patch.name)


def _debian_patches(source: Path) -> list[Path]:
    folder = source / "debian" / "patches"
    lines = (folder / "series").read_text(encoding="utf-8").splitlines()
    return [folder / line.split()[0] for line in lines if line and not line.startswith("#")]


def configure(source: Path, environment: Mapping[str, str]) -> None:
    """Write `.config` and the headers made from it. BusyBoxError: an option did not hold."""
    run_make(source, ["defconfig"], environment)
    ours = (PART / "config").read_text(encoding="utf-8")
    path = source / ".config"
    path.write_text(merge(path.read_text(encoding="utf-8"), ours), encoding="utf-8")
    run_make(source, ["oldconfig"], environment)
    settled = set(path.read_text(encoding="utf-8").splitlines())
    for line in ours.splitlines():
        if _OPTION.match(line) and line not in settled:
            raise BusyBoxError(f"busybox-wasm/config: BusyBox does not keep to {line!r}")


def merge(config: str, ours: str) -> str:
    """Return a configuration in which our lines replace those for the same options."""
    lines = [line for line in ours.splitlines() if _OPTION.match(line)]
    names = {_option(line) for line in lines}
    kept = [line for line in config.splitlines() if _option(line) not in names]
    return "\n".join((*kept, *lines, ""))


def _option(line: str) -> str | None:
    match = _OPTION.match(line)
    return match[1] if match else None


def run_make(source: Path, words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run BusyBox's make natively; questions about new options get their defaults. BusyBoxError."""
    try:
        done = subprocess.run(
            ["make", "HOSTCC=cc", *words],
            cwd=source,
            # Make's own variables of a make around us would change this one.
            env={key: it for key, it in environment.items() if key not in ("MAKEFLAGS", "MFLAGS")}
            | {"LC_ALL": "C", "KCONFIG_NOTIMESTAMP": "1"},
            input=b"\n" * 4096,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_MAKE_SECONDS,
        )
    except FileNotFoundError as error:
        raise BusyBoxError(
            "BusyBox's sources are configured with make(1), which is not installed",
            hint="install Debian's packages make and gcc",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BusyBoxError(f"BusyBox's make {words[0]} did not end") from error
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace").splitlines()[-_SHOWN_LINES:]
        raise BusyBoxError(f"BusyBox's make {' '.join(words)} failed:\n" + "\n".join(said))
