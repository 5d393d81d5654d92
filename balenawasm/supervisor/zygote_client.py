"""The supervisor's end of the zygote: started with the first container, watched, ended with us.

Belongs to the event loop's thread. When the zygote is lost, so are all its runners: `on_lost` is
called, and the next start makes a new one.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import control
from balenawasm.runtime.zygote_process import start_zygote

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from balenawasm.runtime.control import Channel, Message
    from balenawasm.runtime.home import Home

_END_SECONDS = 10.0


class ZygoteClient:
    """Starts and kills runners through one zygote at a time."""

    def __init__(
        self,
        home: Home,
        *,
        on_message: Callable[[Message], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._home = home
        self._on_message = on_message
        self._on_lost = on_lost
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The zygote's process, when there is one."""
        return self._process.pid if self._process is not None else None

    def start(self, container_id: str, fds: Sequence[int]) -> None:
        """Have a runner run the container; what becomes of it comes through `on_message`.

        `fds` are its published listeners and its ends of pipes; they stay the caller's.
        """
        self._ensure().send(control.Start(id=container_id), fds)

    def kill(self, container_id: str) -> None:
        """Kill a container's runner outright."""
        if self._channel is not None:
            self._channel.send(control.Kill(id=container_id))

    async def close(self) -> None:
        """End the zygote with every runner it has, and wait until it is gone."""
        process = self._process
        self._let_go()
        if process is None:
            return
        deadline = asyncio.get_running_loop().time() + _END_SECONDS
        while process.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                process.kill()
            await asyncio.sleep(0.002)

    def _ensure(self) -> Channel:
        if self._channel is not None:
            return self._channel
        self._process, ours = start_zygote(self._home)
        ours.socket.setblocking(False)
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._receive)
        return ours

    def _receive(self) -> None:
        """Take what has come. A zygote that speaks nonsense is as good as lost."""
        while self._channel is not None:
            try:
                received = self._channel.receive()
            except BlockingIOError:
                return
            except BalenaWasmError as error:
                sys.stderr.write(f"supervisor: the zygote: {error.message}\n")
                received = None
            if received is None:
                self._lost()
                return
            message, fds = received
            control.close_all(fds)
            self._on_message(message)

    def _lost(self) -> None:
        process = self._process
        self._let_go()
        if process is not None:
            process.kill()
            process.wait()
        self._on_lost()

    def _let_go(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
        self._channel = self._process = None
