"""What a plain `balenawasm run` may import: counts and names, since times depend on the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
import balenawasm.cli.main, balenawasm.cli.run_container
print(*sorted(sys.modules))
"""
NOT_NEEDED = {
    "aiohttp",
    "asyncio",
    "balenawasm.balenafile",
    "balenawasm.build",
    "balenawasm.compose",
    "balenawasm.disk.entry",
    "balenawasm.disk.ext4.allocation",
    "balenawasm.disk.ext4.check",
    "balenawasm.disk.ext4.writer",
    "balenawasm.layer.changes",
    "balenawasm.layer.image_writer",
    "balenawasm.kernel.network",
    "balenawasm.kernel.network_policy",
    "balenawasm.kernel.socket",
    "balenawasm.layer.tree",
    "balenawasm.runtime.control",
    "balenawasm.runtime.first_content",
    "balenawasm.runtime.mount_sources",
    "balenawasm.supervisor",
    "balenawasm.vfs.filesystems.dev",
    "balenawasm.vfs.filesystems.net",
    "balenawasm.vfs.filesystems.proc",
    "balenawasm.vfs.filesystems.tmpfs",
    "click",
    "concurrent",
    "dataclasses",
    "datetime",
    "difflib",
    "dockerfile_parse",
    "gettext",
    "hashlib",
    "http",
    "importlib.metadata",
    "inspect",
    "locale",
    "logging",
    "paramiko",
    "pickle",
    "platform",
    "pyfatfs",
    "random",
    "rich",
    "secrets",
    "selectors",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "traceback",
    "urllib.request",
    "uuid",
    "wasmtime",
    "yaml",
}
MOST_MODULES = 214
"""Python's own 45 included; each costs a start 0.2 ms."""


@pytest.fixture(scope="module")
def modules() -> set[str]:
    command = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", sorted(NOT_NEEDED))
def test_a_start_does_not_import(name: str, modules: set[str]) -> None:
    assert name not in modules


def test_number_of_modules(modules: set[str]) -> None:
    assert len(modules) <= MOST_MODULES
