"""The sources of LLVM's C++ library, from PyPI's `ziglang`, fetched with pip by version and digest.

The C++ library that comes with LLVM's package was built for wasi-libc, without exceptions: other
numbers for errors, other structures, other clocks. So ours is built from source, with our C
library. No registry has LLVM's sources by themselves; Zig's package carries those of libc++,
libc++abi and libunwind as they are, for it builds them on demand as we do. Only these are unpacked.
Where Zig took the inclusion of `__config_site` out, for it sets macros on the command line, it is
put back.

Licence: Apache 2.0 with LLVM's exception.

Locks: `pip.lock` in the downloads, exclusive while something is fetched.
"""

from __future__ import annotations

import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.atomicfile import TEMPORARY_PREFIX, file_lock
from balenawasm.build.package_client import run_client
from balenawasm.digest import hex_of, sha256_file
from balenawasm.toolchain.artifacts import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.build.reporter import Reporter

PACKAGE = "ziglang==0.17.0"
PLATFORM = "manylinux_2_12_x86_64"
"""One and the same for every board: the sources do not differ, the wheel's digest does."""
CHECKSUM = "97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b"
LIBRARIES = ("libcxx", "libcxxabi", "libunwind")
_TOP = "ziglang/lib/"
_NAME = re.compile(r"[A-Za-z0-9_.+-]+(?:/[A-Za-z0-9_.+-]+)*\Z")
_WITHOUT_SITE = (
    "/* zig patch: instead of including __config_site, zig adds -D flags when compiling */"
)
_WITH_SITE = "#include <__config_site>"
_SHOWN_LINES = 8


class LibcxxSourceError(ToolchainError):
    """The sources cannot be had, or are not those that are pinned."""


def unpack_libcxx(
    target: Path, downloads: Path, environment: Mapping[str, str], reporter: Reporter
) -> None:
    """Put `libcxx`, `libcxxabi` and `libunwind` into a folder; `environment` is what pip runs with.

    Raises LibcxxSourceError, OSError.
    """
    wheel = _fetch(downloads, environment, reporter)
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = entry.filename.removeprefix(_TOP)
            if name == entry.filename or not name.startswith(tuple(f"{it}/" for it in LIBRARIES)):
                continue
            if entry.is_dir() or not _NAME.match(name) or ".." in name.split("/"):
                continue
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = archive.read(entry)
            path.write_bytes(data.replace(_WITHOUT_SITE.encode(), _WITH_SITE.encode()))


def _fetch(downloads: Path, environment: Mapping[str, str], reporter: Reporter) -> Path:
    downloads.mkdir(parents=True, exist_ok=True)
    kept = downloads / f"pypi-sha256-{CHECKSUM}.whl"
    with file_lock(downloads / "pip.lock"):
        if kept.is_file() and hex_of(sha256_file(kept)) == CHECKSUM:
            return kept
        reporter.begin_fetch(PACKAGE)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=downloads) as temporary:
            _download(Path(temporary), environment)
            found = list(Path(temporary).glob("*.whl"))
            if len(found) != 1 or hex_of(sha256_file(found[0])) != CHECKSUM:
                raise LibcxxSourceError(
                    f"{PACKAGE} from PyPI is not the file that is pinned",
                    hint="find out why: the package was replaced, or a mirror serves another",
                )
            found[0].replace(kept)
        reporter.end_fetch(kept.stat().st_size)
    return kept


def _download(folder: Path, environment: Mapping[str, str]) -> None:
    words = ("download", "--quiet", "--no-deps", "--only-binary=:all:", "--platform", PLATFORM)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    done = run_client([*pip, *words, PACKAGE], environment, folder=folder)
    if done.returncode != 0:
        reason = "\n".join(done.stderr.strip().splitlines()[-_SHOWN_LINES:])
        raise LibcxxSourceError(
            f"cannot fetch {PACKAGE} with pip: {reason}",
            hint="check the network and pip's configuration (`pip config list`)",
        )
