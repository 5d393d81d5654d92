"""`balenawasm exec`: another process in a running container.

The terminal's own fds travel to the container's runner; nothing passes through the supervisor.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balenawasm.cli.project import (
    NoServiceError,
    check_services,
    find_supervisor,
    project_option,
    select_project,
)
from balenawasm.cli.state import open_home
from balenawasm.cli.terminal_relay import check_input, enter_terminal, kind_of_terminal
from balenawasm.cli.values import variable
from balenawasm.errors import BalenaWasmError
from balenawasm.runtime.control import (
    Channel,
    ControlError,
    Exec,
    Exited,
    Failed,
    Signal,
    Target,
    close_all,
)
from balenawasm.runtime.control import connect as connect_runner
from balenawasm.supervisor.status import ServiceState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_TYPED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)
"""What the terminal sends (terminal_relay), for who reads from it."""


class ExecError(BalenaWasmError):
    """The program could not be started in the container."""

    def __init__(self, message: str, *, hint: str | None, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


@click.command(name="exec", context_settings={"allow_interspersed_args": False})
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give the program this terminal.")
@click.option("-e", "--env", "variables", multiple=True, metavar="K=V", help="Set a variable.")
@click.option("-w", "--workdir", metavar="DIR", help="The working directory.")
@project_option
@click.argument("service")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD [ARG…]")
def exec_command(
    service: str,
    command: tuple[str, ...],
    variables: tuple[str, ...],
    workdir: str | None,
    project_name: str | None,
    *,
    interactive: bool,
    tty: bool,
) -> int:
    """Run a program in a running service's container; its exit status is the command's.

    \b
    Examples:
      balenawasm exec web python -c "import os; print(os.listdir('/'))"
      balenawasm exec -it web python
    """
    if tty:
        if interactive:
            check_input()
        ended = enter_terminal(interactive=interactive)
        if ended is not None:
            return ended
    client = find_supervisor(open_home())
    project = select_project(client, project_name, service=service)
    assert client is not None  # noqa: S101 - without a supervisor no project was found
    check_services(project, (service,))
    status = next(it for it in project.services if it.name == service)
    if status.container is None or status.state is not ServiceState.RUNNING:
        raise NoServiceError(
            f"service {service!r} does not run, it is {status.state}",
            hint=f"start it: balenawasm start {service}",
        )
    container = client.container(status.container)
    request = Exec(
        argv=tuple(map(os.fsencode, command)),
        env=(
            *((kind_of_terminal(),) if tty else ()),
            *(os.fsencode(variable(text)) for text in variables),
        ),
        cwd=os.fsencode(workdir) if workdir else None,
        tty=tty,
    )
    return _run(Path(container.control_socket), request, interactive=interactive or tty)


def _run(control_socket: Path, request: Exec, *, interactive: bool) -> int:
    channel = connect_runner(control_socket)
    stdin = os.dup(0) if interactive else os.open(os.devnull, os.O_RDONLY)
    try:
        channel.send(request, (stdin, 1, 2))
    finally:
        os.close(stdin)
    with _forwarded_signals(channel, typed=request.tty):
        while (received := channel.receive()) is not None:
            message, fds = received
            close_all(fds)
            if isinstance(message, Exited):
                return message.code
            if isinstance(message, Failed):
                raise ExecError(message.message, hint=message.hint, exit_code=message.code)
    raise ControlError("the container ended before the program did")


@contextmanager
def _forwarded_signals(channel: Channel, *, typed: bool) -> Iterator[None]:
    """Pass Ctrl-C and its like to the process in the container; it decides, we wait. What was
    `typed` at a terminal of its own is for who reads from that.
    """

    def forward(number: int, _frame: FrameType | None) -> None:
        target = Target.TERMINAL if typed and number in _TYPED else Target.EXEC
        channel.send(Signal(signal=number, target=target))

    signals = {*_FORWARDED, *_TYPED} if typed else _FORWARDED
    before = {number: signal.signal(number, forward) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
