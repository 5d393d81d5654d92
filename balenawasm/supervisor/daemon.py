"""The supervisor's process: `python -m balenawasm.supervisor.daemon --home DIR [--exit-when-idle]`.

One per state directory: it holds `run/supervisor.lock` as long as it lives (status 75 when another
one does), and answers on `run/supervisor.sock`. With `--ready-fd N` it writes `R` to that pipe once
it answers. SIGTERM and SIGINT stop every container and end it; with `--exit-when-idle` it also ends
by itself after its last project was taken down.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path

from balenawasm.errors import BalenaWasmError
from balenawasm.runtime.control import at_short_path
from balenawasm.runtime.home import Home
from balenawasm.runtime.hostprocess import set_name
from balenawasm.supervisor.api.server import serve
from balenawasm.supervisor.supervisor import Supervisor

ALREADY_RUNNING = 75
"""Exit status (EX_TEMPFAIL) when another supervisor holds the state directory."""

_BACKLOG = 128


def main() -> int:
    """Run the supervisor; returns its exit status."""
    parser = argparse.ArgumentParser(prog="balenawasm-supervisor")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--exit-when-idle", action="store_true")
    parser.add_argument("--ready-fd", type=int)
    arguments = parser.parse_args()
    set_name("balenawasm-sup")
    # Runners inherit it: files that guests make have the modes that Docker gives them.
    os.umask(0o022)
    home = Home(arguments.home)
    try:
        home.create()
        lock = _lock(home)
        if lock is None:
            return ALREADY_RUNNING
        asyncio.run(
            _serve(home, ready_fd=arguments.ready_fd, exit_when_idle=arguments.exit_when_idle)
        )
    except BalenaWasmError as error:
        sys.stderr.write(f"supervisor: {error.message}\n")
        return error.exit_code
    return 0


def _lock(home: Home) -> int | None:
    """Take the state directory's lock for as long as this process lives; None: it is taken."""
    fd = os.open(home.supervisor_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


async def _serve(home: Home, *, ready_fd: int | None, exit_when_idle: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signo in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signo, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    supervisor = Supervisor(home, ends_when_idle=exit_when_idle)
    await supervisor.begin()
    listener = _listen(home)
    runner = await serve(supervisor, listener)
    if ready_fd is not None:
        # The one who started us may have gone away meanwhile.
        with contextlib.suppress(OSError):
            os.write(ready_fd, b"R")
        os.close(ready_fd)
    try:
        waits = [loop.create_task(stop.wait()), loop.create_task(supervisor.idle.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
    finally:
        # First the name: a client that comes now shall start, and wait for, our successor.
        home.supervisor_socket.unlink(missing_ok=True)
        await runner.cleanup()
        await supervisor.close()


def _listen(home: Home) -> socket.socket:
    """Bind the API's socket; a stale one is replaced, for the lock is ours."""
    home.supervisor_socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    at_short_path(home.supervisor_socket, listener.bind)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


if __name__ == "__main__":
    sys.exit(main())
