"""Running the clients of package registries: npm, pip, apt-get.

They run with their caller's environment and configuration, so that proxies and mirrors are
respected; no registry is named here.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def run_client(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a client to its end, without input; its words and status are the caller's to judge.

    Raises OSError when it cannot be started, subprocess.TimeoutExpired.
    """
    return subprocess.run(
        words,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds,
    )
