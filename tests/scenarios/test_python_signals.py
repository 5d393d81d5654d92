"""Signals in unmodified Python programs: handlers, Ctrl-C, timers, masks, asyncio, and stopping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Cli, wait_for_no_process

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
WORDS = PROJECT / "images" / "python" / "rootfs" / "etc" / "signal-words"
LONG = 60

HANDLER = "import signal, time\nsignal.signal({0}, lambda n, f: print('got', n))\n"
CAUGHT_IN = """
try:
    print("ready", flush=True)
    {}
except KeyboardInterrupt:
    print("interrupted")
"""
BUSY = """
def busy():
    while True:
        pass
"""
EVENT_LOOP = """
import asyncio, signal
async def main():
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, asked.set)
    print("ready", flush=True)
    await asked.wait()
    print("asked", loop.remove_signal_handler(signal.SIGTERM))
asyncio.run(main())
"""
CANCELLED = """
import asyncio
async def main():
    try:
        print("ready", flush=True)
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        print("cancelled")
        raise
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
ACCEPTING = """
import signal, socket
signal.signal(signal.SIGHUP, lambda *_: print("hup", flush=True))
listener = socket.create_server(("", 80))
"""


def run(cli: Cli, program: str, *signals: int, image: str = "balenaos/python") -> tuple[int, str]:
    """Run a program; when it has printed its first line, and after each line that follows a signal,
    send the next. Its status and output.
    """
    process = cli.start(
        "run", image, "python", "-u", "-c", program,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    shown = ""
    with process:
        try:
            for signo in signals:
                shown += process.stdout.readline()
                process.send_signal(signo)
            rest, _ = process.communicate(timeout=LONG)
        finally:
            process.kill()
    return process.returncode, shown + rest


@pytest.mark.parametrize(
    ("before", "waits"),
    [
        ("import time", "time.sleep(600)"),
        (BUSY, "busy()"),
        ("import select, socket; a, b = socket.socketpair()", "select.select([a], [], [])"),
        ("import socket; s = socket.create_server(('', 80))", "s.accept()"),
        ("import socket; a, b = socket.socketpair()", "a.recv(1)"),
        ("import os; r, w = os.pipe()", "os.read(r, 1)"),
        ("import signal", "signal.pause()"),
        ("import subprocess, sys", "subprocess.call([sys.executable, '-c', 'while 1: pass'])"),
    ],
)
def test_sigint_is_keyboard_interrupt(cli: Cli, before: str, waits: str) -> None:
    program = before + CAUGHT_IN.format(waits)
    assert run(cli, program, signal.SIGINT) == (0, "ready\ninterrupted\n")


def test_one_that_is_not_caught_ends_the_program(cli: Cli) -> None:
    status, shown = run(cli, "import time; print('ready'); time.sleep(600)", signal.SIGINT)
    assert status == 130
    assert shown.startswith("ready\nTraceback")
    assert shown.endswith("KeyboardInterrupt\n")


def test_without_a_handler_sigterm_ends_it(cli: Cli) -> None:
    program = BUSY + "print('ready')\nbusy()"
    assert run(cli, program, signal.SIGTERM) == (143, "ready\n")


def test_a_handler_is_called_and_the_call_goes_on(cli: Cli) -> None:
    program = HANDLER.format("signal.SIGHUP") + (
        "started = time.monotonic()\nprint('ready')\ntime.sleep(1)\n"
        "print(time.monotonic() - started >= 1)"
    )
    assert run(cli, program, signal.SIGHUP) == (0, "ready\ngot 1\nTrue\n")


def test_a_socket_call_goes_on_after_a_handler(cli: Cli) -> None:
    program = ACCEPTING + CAUGHT_IN.format("listener.accept()")
    assert run(cli, program, signal.SIGHUP, signal.SIGINT) == (0, "ready\nhup\ninterrupted\n")


def test_a_handler_that_exits(cli: Cli) -> None:
    program = (
        "import atexit, signal, sys, time\natexit.register(print, 'clean')\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('ready')\ntime.sleep(600)"
    )
    assert run(cli, program, signal.SIGTERM) == (7, "ready\nclean\n")


def test_timers(cli: Cli) -> None:
    program = HANDLER.format("signal.SIGALRM") + (
        "print(signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05))\nsignal.pause()\nsignal.pause()\n"
        "print(signal.setitimer(signal.ITIMER_REAL, 0)[1], signal.alarm(9), signal.alarm(0))"
    )
    assert run(cli, program) == (0, "(0.0, 0.0)\ngot 14\ngot 14\n0.05 0 9\n")


def test_an_alarm_ends_a_busy_loop(cli: Cli) -> None:
    program = BUSY + (
        "import signal\ndef late(*_): raise TimeoutError('late')\n"
        "signal.signal(signal.SIGALRM, late)\nsignal.alarm(1)\n"
        "try: busy()\nexcept TimeoutError as error: print(error)"
    )
    assert run(cli, program) == (0, "late\n")


def test_masks_and_waiting(cli: Cli) -> None:
    program = (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "print('ready')\nprint(signal.sigwait([signal.SIGTERM, signal.SIGUSR1]).name)\n"
        "signal.raise_signal(signal.SIGTERM)\nprint(signal.sigpending())\n"
        "print(signal.sigtimedwait([signal.SIGUSR1], 0.01), signal.sigwaitinfo([15]).si_signo)\n"
        "print(signal.pthread_sigmask(signal.SIG_SETMASK, []))"
    )
    expected = "ready\nSIGTERM\n{<Signals.SIGTERM: 15>}\nNone 15\n{<Signals.SIGTERM: 15>}\n"
    assert run(cli, program, signal.SIGTERM) == (0, expected)


def test_what_is_ignored_or_put_back(cli: Cli) -> None:
    program = (
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.kill(os.getpid(), 2)\nprint(signal.getsignal(2).name)\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\nos.kill(os.getpid(), 2)\nprint('never')"
    )
    assert run(cli, program) == (130, "SIG_IGN\n")


def test_asyncio(cli: Cli) -> None:
    assert run(cli, EVENT_LOOP, signal.SIGTERM) == (0, "ready\nasked True\n")
    assert run(cli, CANCELLED, signal.SIGINT) == (0, "ready\ncancelled\ninterrupted\n")


def test_words_of_another_build_are_not_used(cli: Cli) -> None:
    """As if the image had another Python than the words are for: handlers are never called, and
    nothing is stored anywhere.
    """
    (cli.directory / "words").write_text(WORDS.read_text().replace("3.12.0 (", "3.12.9 ("))
    (cli.directory / "Balenafile").write_text(
        "FROM balenaos/python\nCOPY words /etc/signal-words\n"
    )
    cli("build", "-t", "test/wordless", ".")
    program = (
        "import time, signal\nsignal.signal(1, print)\nprint('ready')\n"
        "try: time.sleep(600)\nexcept BaseException as error: print(error)"
    )
    for signo, status in ((signal.SIGINT, 130), (signal.SIGHUP, 129)):
        assert run(cli, program, signo, image="test/wordless") == (status, "ready\n")


@pytest.mark.long
def test_the_words_are_those_of_this_build(python_wasm: Path, python_home: Path) -> None:
    found = subprocess.run(
        [sys.executable, PROJECT / "scripts" / "find-python-signal-words", python_wasm],
        env={**os.environ, "BALENAWASM_HOME": str(python_home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    written = [line for line in WORDS.read_text().splitlines() if not line.startswith("#")]
    assert found.stdout.splitlines() == written


@pytest.fixture
def project(cli: Cli) -> Iterator[Cli]:
    directory = cli.directory / "stopping"
    directory.mkdir()
    (directory / "app.py").write_text(
        "import signal, sys, time\n"
        "def end(*_):\n    print('tidied up')\n    sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('runs')\nwhile True:\n    time.sleep(600)\n"
    )
    (directory / "compose.yml").write_text(
        "services:\n  app:\n    image: balenaos/python\n    stop_grace_period: 50s\n"
        '    volumes: ["./app.py:/app.py:ro"]\n    command: ["python", "/app.py"]\n'
    )
    inside = cli.in_directory(directory)
    yield inside
    inside("down", status=None)
    assert wait_for_no_process(cli.home) == {}


def test_a_service_is_stopped_cleanly(project: Cli) -> None:
    project("up", "-d")
    deadline = time.monotonic() + LONG
    while "runs" not in project("logs", "app").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    project("stop", "app")
    assert "tidied up" in project("logs", "app").stdout
