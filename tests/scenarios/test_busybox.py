"""balenaos/busybox: scripts and pipelines as on a native BusyBox, its shell at a terminal."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.busybox_native import NativeBusyBox, in_root, make_root, native_busybox
from tests.conftest import COMMAND, Cli, wait_for_no_process
from tests.scenarios.test_compose_examples import EXAMPLES, free_port, get
from tests.user_terminal import UserTerminal

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROMPT = "# "
DATA = Path(__file__).parents[1] / "data"

PIPELINES = {
    name: script
    for name, _, script in (
        part.partition("\n")
        for part in (DATA / "pipelines.sh").read_text().removeprefix("### ").split("\n### ")
    )
}


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> NativeBusyBox:
    """A native BusyBox of the same configuration."""
    return native_busybox()


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_prints_what_it_prints_natively(
    busybox_cli: Cli, native: NativeBusyBox, name: str, tmp_path: Path
) -> None:
    script = PIPELINES[name]
    make_root(native, tmp_path / "root")
    variables = {"PATH": PATH, "HOME": "/root"}
    wanted = in_root(tmp_path / "root", ["/bin/sh", "-c", script], variables, 60)
    done = subprocess.run(
        [COMMAND, "run", "balenaos/busybox", "sh", "-c", script],
        env=busybox_cli.environment,
        cwd=busybox_cli.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=100,
        check=False,
    )
    assert done.stdout.decode() == wanted.stdout.decode()
    assert done.returncode == wanted.returncode


def test_the_applets(busybox_cli: Cli) -> None:
    applets = busybox_cli("run", "balenaos/busybox", "busybox", "--list").stdout.split()
    assert len(applets) >= 350
    links = busybox_cli(
        "run", "balenaos/busybox", "sh", "-c", "for a in $(busybox --list); do which $a; done"
    )
    assert len(links.stdout.split()) == len(set(applets) - {"busybox"}) + 1


def test_what_the_system_shows(busybox_cli: Cli) -> None:
    script = (
        # A process is called "exe" until it has found out which applet it is.
        "sleep 50 & until pidof sleep >/dev/null; do usleep 10000; done;"
        "ps -o pid,comm | grep sleep; echo has a pid;"
        "df / | tail -1; free | grep -c Mem; top -bn1 | grep -c ' sleep 50$';"
        "id -un; hostname; uptime | grep -c load; killall sleep"
    )
    shown = busybox_cli("run", "balenaos/busybox", "sh", "-c", script).stdout.splitlines()
    assert shown[0].split()[1] == "sleep"
    assert shown[1] == "has a pid"
    assert shown[2].split()[-1] == "/"
    assert shown[3:6] == ["1", "1", "root"]
    assert shown[7] == "1"


def test_sockets(busybox_cli: Cli) -> None:
    script = """
        mkdir /tmp/www; echo page >/tmp/www/index.html
        httpd -p 8080 -h /tmp/www
        until wget -qO- http://localhost:8080/; do sleep 0.1; done
        echo over | nc -l -p 9000 >/tmp/got &
        until echo hello | nc -w 5 127.0.0.1 9000; do sleep 0.1; done
        wait $!; cat /tmp/got
        wget -qO- http://localhost:8080/missing 2>&1; true
    """
    shown = busybox_cli("run", "balenaos/busybox", "sh", "-c", script).stdout
    assert shown.splitlines()[:3] == ["page", "over", "hello"]
    assert "404" in shown


def test_hello_shell(busybox_cli: Cli) -> None:
    directory = busybox_cli.directory / "hello-shell"
    shutil.copytree(EXAMPLES / "hello-shell", directory)
    cli = busybox_cli.in_directory(directory)
    port = free_port()
    compose = directory / "compose.yaml"
    compose.write_text(compose.read_text().replace('"${PORT:-8080}:80"', f'"127.0.0.1:{port}:80"'))
    try:
        cli("up", "-d", "--build")
        assert get(port, "/a").splitlines() == ["Hello from a shell", "/a: 1"]
        assert get(port, "/b").splitlines()[0] == "Hello from a shell"
        assert get(port, "/a").splitlines()[1:] == ["/a: 2", "/b: 1"]
        logs = cli("logs", "web").stdout
        assert "Serving on port 80" in logs
        assert "GET /b" in logs
        assert "nc" in cli("exec", "web", "ps", "-o", "comm").stdout
    finally:
        cli("down", status=None)
    assert wait_for_no_process(cli.home) == {}


def shell(cli: Cli) -> UserTerminal:
    return UserTerminal(
        [COMMAND, "run", "-it", "balenaos/busybox", "sh"], cli.environment, cli.directory
    )


def start(user: UserTerminal, command: str) -> None:
    """Run a command, and wait until the shell has left its line editor: what is typed before that
    is the editor's.
    """
    user.type(f"echo sta''rts; {command}\r")
    user.expect("\nstarts\n")


def test_line_editing_and_history(busybox_cli: Cli) -> None:
    with shell(busybox_cli) as user:
        user.expect(PROMPT)
        user.type("echo hXllo\x1b[D\x1b[D\x1b[D\x08e\r")
        user.expect("\nhello\n")
        user.expect(PROMPT)
        user.type("\x1b[A!\r")
        user.expect("\nhello!\n")
        user.expect(PROMPT)
        user.type("ls /etc/pass\t\r")
        user.expect("\n/etc/passwd\n")
        user.expect(PROMPT)
        user.type("exit 5\r")
        assert user.wait() == 5
        assert user.is_restored()


def test_jobs(busybox_cli: Cli) -> None:
    with shell(busybox_cli) as user:
        user.expect(PROMPT)
        user.type("sleep 500 | cat &\r")
        user.expect("[1] ")
        user.expect(PROMPT)
        start(user, "cat")
        user.type("echoed\r")
        user.expect("echoed\nechoed\n")
        user.type("\x1a")
        user.expect("[2] ")
        user.expect(PROMPT)
        user.type("jobs\r")
        user.expect("[1] ")
        user.expect("Running")
        user.expect("[2] ")
        user.expect("Stopped")
        user.expect(PROMPT)
        start(user, "fg %2")
        user.type("again\r")
        user.expect("again\nagain\n")
        user.type("\x04")
        user.expect(PROMPT)
        user.type("kill %1; wait; jobs; echo e''nd\r")
        user.expect("\nend\n")
        user.expect(PROMPT)
        user.type("exit\r")
        assert user.wait() == 0


def test_ctrl_c_ends_programs_and_busy_loops(busybox_cli: Cli) -> None:
    with shell(busybox_cli) as user:
        user.expect(PROMPT)
        for command in ("sleep 500", "sleep 500 | cat", "yes >/dev/null"):
            start(user, command)
            user.type("\x03")
            user.expect(PROMPT)
        start(user, "while :; do :; done; echo rea''ched")
        user.type("\x03")
        assert b"reached" not in user.expect(PROMPT)
        user.type("trap 'echo cau''ght; exit 4' INT\r")
        user.expect(PROMPT)
        start(user, "while :; do :; done")
        user.type("\x03")
        user.expect("caught\n")
        assert user.wait() == 4


def test_vi_and_less(busybox_cli: Cli) -> None:
    with shell(busybox_cli) as user:
        user.expect(PROMPT)
        user.type("vi /tmp/note\r")
        user.expect("~")
        user.type("ifirst line\rsecond\x1b")
        user.expect("- /tmp/note [Modified] 2/2")
        user.type("ggdwx:wq\r")
        user.expect(PROMPT)
        user.type("cat /tmp/note\r")
        user.expect("\nine\nsecond\n")
        user.expect(PROMPT)
        user.type("seq 100 | less\r")
        user.expect("\n20\n")
        user.type("G")
        user.expect("\n100")
        user.type("q")
        user.expect(PROMPT)
        user.type("top -d 1\r")
        user.expect("COMMAND")
        user.type("q")
        user.expect(PROMPT)
        user.type("stty size\r")
        user.expect("24 80")
        user.expect(PROMPT)
        user.type("\x04")
        assert user.wait() == 0


def test_a_terminal_that_goes_away_ends_the_shell_and_its_job(busybox_cli: Cli) -> None:
    with shell(busybox_cli) as user:
        user.expect(PROMPT)
        start(user, "sleep 500")
        user.process.kill()  # what relays between the two terminals: nobody can type any more
    assert wait_for_no_process(busybox_cli.home) == {}
