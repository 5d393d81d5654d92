"""The `balenawasm` command: calls the verb, turns errors into a message, a hint and an exit status.

Exit status: 0 success; 1 failure; 2 wrong usage; 130 interrupted; 70 a fault of ours; `run` and
`exec` give the guest's own.

A plain `run` is on the fast path: no click, and the process ends without taking itself apart.
Imports stand in functions here, so that each way pays for its own only.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from balenawasm.cli.run_options import read_plainly
from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.cli.run_options import RunOptions

INTERNAL_ERROR = 70
"""EX_SOFTWARE of sysexits.h."""


def report(message: str, hint: str | None = None) -> None:
    """Print an error the way all of them look."""
    import click

    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True)


def _os_error(error: OSError) -> None:
    where = f": {os.fsdecode(error.filename)}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        report(
            f"no space left on the device{where}",
            "free some space: `balenawasm image ls` shows images, `balenawasm image rm` removes",
        )
    else:
        report(f"{error.strerror or error}{where}")


def explained(action: Callable[[], int]) -> int:
    """Do it; an exception becomes a message and an exit status."""
    try:
        return action()
    except BalenaWasmError as error:
        report(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        _os_error(error)
        return 1
    except Exception as error:
        if os.environ.get("BALENAWASM_DEBUG"):
            import traceback

            traceback.print_exc()
        report(
            f"internal error: {type(error).__name__}: {error}",
            "this is a fault in balenawasm; BALENAWASM_DEBUG=1 shows where",
        )
        return INTERNAL_ERROR


def _run_by_click(arguments: list[str]) -> int:
    from balenawasm.cli.verbs import call

    return call(arguments)


def _run_plainly(options: RunOptions) -> int:
    # Nothing that is imported becomes garbage: looking for some took a twentieth of the start.
    # Frozen objects are not looked at again, which also leaves their pages shared after the fork.
    gc.disable()
    from balenawasm.cli.run_container import run_container

    gc.freeze()
    gc.enable()
    return run_container(options)


def main() -> NoReturn:
    """Entry point of the command."""
    arguments = sys.argv[1:]
    options = read_plainly(arguments)
    if options is None:
        sys.exit(explained(lambda: _run_by_click(arguments)))
    status = explained(lambda: _run_plainly(options))
    # The container's files are removed and no thread is left: undoing imports would be for nothing.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)
