"""`run -it` and `exec -it` at a real terminal: keys, signals, size, and the terminal afterwards."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import COMMAND, Cli, processes_of, wait_for_no_process
from tests.user_terminal import LONG, UserTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = "import termios; print('size', *termios.tcgetwinsize(0))"


def at_terminal(cli: Cli, *words: str) -> UserTerminal:
    return UserTerminal([COMMAND, *words], cli.environment, cli.directory)


def run(cli: Cli, *words: str) -> UserTerminal:
    return at_terminal(cli, "run", "-it", "balenaos/python", "python", *words)


@pytest.fixture(scope="module")
def service(python_home: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A project with a running service `web`."""
    directory = tmp_path_factory.mktemp("termproject") / "term"
    directory.mkdir()
    (directory / "compose.yml").write_text(
        "services:\n  web:\n    image: balenaos/python\n"
        '    command: ["python", "-c", "import time; time.sleep(600)"]\n'
        "  screen:\n    image: balenaos/python\n    tty: true\n"
        '    command: ["python", "-c", "import sys, time; print(sys.stdout.isatty(), end=\'.\');'
        " print(open('/dev/tty').isatty()); time.sleep(600)\"]\n"
    )
    cli = Cli(python_home, directory)  # type: ignore[arg-type]
    cli("up", "-d")
    yield cli
    cli("down", status=None)
    assert wait_for_no_process(cli.home) == {}


def programs(cli: Cli) -> str:
    return cli("exec", "web", "python", "-c", LIST_PROGRAMS).stdout


LIST_PROGRAMS = """
import os
for pid in os.listdir("/proc"):
    if pid.isdigit():
        print(open(f"/proc/{pid}/cmdline").read().replace("\\0", " "))
"""


def test_an_interactive_session(cli: Cli) -> None:
    with run(cli) as user:
        user.expect(">>> ")
        assert user.is_raw()
        user.type("6 * 7\r")
        user.expect("\n42\n>>> ")
        user.type("8*8\x1b[D\x1b[D\x1b[D1\x05+0\x01\x04\r")  # 18*8+0 without its first digit
        user.expect("\n64\n>>> ")
        user.type("\x1b[A\x1b[A\r")
        user.expect("\n42\n>>> ")
        user.type("wrong words\x15'kept'\x17'killed'\x19\x0b\r")
        user.expect("\n'killedkept'\n>>> ")
        user.type("\x04")
        assert user.wait() == 0
        assert user.is_restored()


def test_blocks_completion_and_history(cli: Cli) -> None:
    with run(cli) as user:
        user.expect(">>> ")
        user.type("for i in range(2):\r")
        user.expect("...     ")
        user.type("print('n', i)\r")
        user.expect("...     ")
        user.type("\r")
        user.expect("n 0\nn 1\n>>> ")
        user.type("str.upp\t'abc')\r")
        user.expect("\n'ABC'\n>>> ", 5)
        user.type("\x12range\x07\x03")
        user.expect("KeyboardInterrupt\n>>> ")
        user.type("\x1b[200~def f():\n\treturn 5\n\nf() + 1\n\x1b[201~")
        user.expect("\n6\n>>> ")
        user.type("exit(3)\r")
        assert user.wait() == 3


def test_ctrl_c_at_the_prompt_and_in_code(cli: Cli) -> None:
    with run(cli) as user:
        user.expect(">>> ")
        user.type("half a line\x03")
        user.expect("KeyboardInterrupt\n>>> ")
        user.type("import time; print('sle' + 'eps'); time.sleep(600)\r")
        user.expect("sleeps\n")
        user.type("\x03")
        user.expect("KeyboardInterrupt\n>>> ")
        user.type("def busy():\r")
        user.expect("...     ")
        user.type("print('computes')\r")
        user.expect("...     ")
        user.type("while True: pass\r")
        user.expect("...     ")
        user.type("\r")
        user.expect(">>> ")
        user.type("busy()\r")
        user.expect("\ncomputes\n")
        user.type("\x03")
        user.expect("KeyboardInterrupt\n>>> ")
        user.type("input('question ')\r")
        user.expect("\nquestion ")
        user.type("answer\x7f\x7f\x08k\r")
        user.expect("\n'ansk'\n>>> ")
        user.type("\x04")
        assert user.wait() == 0


def test_the_size_and_its_changes(cli: Cli) -> None:
    program = f"""
import signal, time
{SIZE}
changes = []
signal.signal(signal.SIGWINCH, lambda *_: changes.append(print("changed")))
print("ready")
while not changes:
    time.sleep(0.05)
{SIZE}
import os; print(os.get_terminal_size(), os.ttyname(1), os.tcgetpgrp(0) == os.getpgrp())
"""
    with run(cli, "-c", program) as user:
        user.expect("size 24 80\nready")
        user.resize(100, 30)
        user.expect("changed\nsize 30 100\n")
        user.expect("os.terminal_size(columns=100, lines=30) /dev/tty True")
        assert user.wait() == 0


def test_cooked_mode_is_the_kernels(cli: Cli) -> None:
    program = "print([input('? '), open('/dev/tty').readline()])\ninput()"
    with run(cli, "-c", program) as user:
        user.expect("? ")
        user.type("onw\x7f\x7fe\rtwo\r")
        user.expect("['oe', 'two\\n']")
        user.type("\x04")
        user.expect("EOFError")
        assert user.wait() == 1


def test_a_password_is_not_shown(cli: Cli) -> None:
    with run(cli, "-c", "import getpass; print(getpass.getpass('pass: ')[::-1])") as user:
        user.expect("pass: ")
        user.type("secret\r")
        shown = user.expect("terces")
        assert b"secret" not in shown
        assert user.wait() == 0


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_to_the_command_ends_both_and_restores(
    cli: Cli, sent: signal.Signals, status: int
) -> None:
    with run(cli, "-c", "import time; print('runs'); time.sleep(600)") as user:
        user.expect("runs")
        user.process.send_signal(sent)
        assert user.wait() == status
        assert user.is_restored()
    assert wait_for_no_process(cli.home) == {}


def test_the_runners_crash_restores(cli: Cli) -> None:
    with run(cli, "-c", "import time; print('runs'); time.sleep(600)") as user:
        user.expect("runs")
        (runner,) = set(processes_of(cli.home)) - {user.process.pid}
        os.kill(runner, signal.SIGKILL)
        assert user.wait() == 137
        assert user.is_restored()


def test_killing_the_command_hangs_up(cli: Cli) -> None:
    with run(cli, "-c", "import time; print('runs'); time.sleep(600)") as user:
        user.expect("runs")
        user.process.kill()
        user.process.wait()
        assert wait_for_no_process(cli.home) == {}


def test_keys_that_end_or_stop(cli: Cli) -> None:
    with run(cli, "-c", "import time; print('runs'); time.sleep(600)") as user:
        user.expect("runs")
        user.type("\x1a")  # nobody could continue it: nothing happens
        user.expect("^Z")
        user.type("\x1c")
        assert user.wait() == 131
        assert user.is_restored()


def test_ctrl_c_reaches_the_whole_group(cli: Cli) -> None:
    program = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; print('child'); time.sleep(600)"])
try:
    child.wait()
except KeyboardInterrupt:
    print("both", child.wait())
"""
    with run(cli, "-c", program) as user:
        user.expect("child")
        user.type("\x03")
        user.expect("both 130")
        assert user.wait() == 0


def test_minus_t_wants_a_terminal(cli: Cli) -> None:
    done = cli("run", "-it", "balenaos/python", "python", "-c", "pass", status=None, stdin="")
    assert done.returncode != 0
    assert "the input device is not a TTY" in done.stderr


def test_minus_t_alone_is_a_terminal_for_output(cli: Cli) -> None:
    done = cli("run", "-t", "balenaos/python", "python", "-c", "import os; print(os.isatty(1))")
    assert done.stdout == "True\n"


def test_exec(service: Cli) -> None:
    with at_terminal(service, "exec", "-it", "web", "python") as user:
        user.expect(">>> ")
        assert user.is_raw()
        user.type(f"{SIZE}\r")
        user.expect("size 24 80\n>>> ")
        user.resize(90, 20)
        user.type("import time; print('sle' + 'eps'); time.sleep(600)\r")
        user.expect("sleeps\n")
        user.type("\x03")
        user.expect("KeyboardInterrupt\n>>> ")
        user.type(f"{SIZE}\r")
        user.expect("size 20 90\n>>> ")
        user.type("exit(5)\r")
        assert user.wait() == 5
        assert user.is_restored()


def test_leaving_exec_hangs_up_what_it_started(service: Cli) -> None:
    with at_terminal(service, "exec", "-it", "web", "python", "-i", "-c", "a = 'the one'") as user:
        user.expect(">>> ")
        assert "the one" in programs(service)
        user.process.kill()
        user.process.wait()
        deadline = time.monotonic() + LONG
        while "the one" in programs(service):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert "time.sleep(600)" in programs(service)


def test_a_service_with_a_terminal(service: Cli) -> None:
    deadline = time.monotonic() + LONG
    while "True.True\n" not in service("logs", "--no-prefix", "screen").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
