"""Unmodified Python programs that start programs, in balenaos/python as a user runs it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Cli

SITE = Path(__file__).parents[2] / "images/python/rootfs/lib/python3.12/site-packages"


@pytest.fixture
def run(cli: Cli) -> Callable[..., list[str]]:
    """Run a program in a container, its directory at /app; its lines of output."""

    def run(source: str, *options: str, status: int = 0) -> list[str]:
        (cli.directory / "program.py").write_text(dedent(source))
        words = ("-v", f"{cli.directory}:/app", "-w", "/app", *options)
        done = cli("run", *words, "balenaos/python", "python", "program.py", status=None)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


def test_the_start_knows_what_os_is_going_to_have() -> None:
    """balenawasm.pth repeats the names, so that other names cost nothing."""
    functions = runpy.run_path(str(SITE / "balenawasm_adapters" / "os_functions.py"))
    listed = re.search(r'in " ([\w ]+) "', (SITE / "balenawasm.pth").read_text())
    assert listed is not None
    assert set(listed[1].split()) == set(functions["MODULE_OF"])


def test_subprocess_run(run: Callable[..., list[str]]) -> None:
    printed = run(
        """
        import os, subprocess, sys, time
        from subprocess import DEVNULL, PIPE, STDOUT


        def python(source, *arguments, **options):
            return subprocess.run([sys.executable, "-c", source, *arguments], **options)


        done = python(
            "import sys; print(sys.argv)", "a b", "", "\\u00e9", capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (
            0,
            "['-c', 'a b', '', '\\u00e9']\\n",
            "",
        ), done
        big = os.urandom(3 << 20)
        echo = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
        assert python(echo, input=big, stdout=PIPE).stdout == big
        done = python(
            "import sys; print(1, flush=True); print(2, file=sys.stderr)",
            stdout=PIPE,
            stderr=STDOUT,
        )
        assert done.stdout == b"1\\n2\\n", done
        done = python(
            "import sys; print(sys.stdin.read() == '')", stdin=DEVNULL, stderr=DEVNULL, stdout=PIPE
        )
        assert done.stdout == b"True\\n"
        with open("log", "w") as log:
            python("print('to a file')", stdout=log)
            python("print('behind it')", stdout=log)
        assert open("log").read() == "to a file\\nbehind it\\n"
        with open("log") as log:
            log.read(3)  # the buffer reads on, but the child starts where the file is
            os.lseek(log.fileno(), 3, 0)
            assert (
                python(echo, stdin=log, stdout=PIPE).stdout
                == b"file\\nbehind it\\n"[0:0] + b"a file\\nbehind it\\n"
            )
        os.mkdir("below")
        where = (
            "import os;"
            "print(os.getcwd(), os.environ.get('A'), os.environ.get('HOME'), os.listdir())"
        )
        assert python(where, cwd="below", stdout=PIPE).stdout == b"/app/below None /root []\\n"
        assert (
            python(where, cwd="/app/below", env={"A": "1"}, stdout=PIPE).stdout
            == b"/app/below 1 None []\\n"
        )
        os.environ["A"] = "2"
        os.chdir("below")
        assert python(where, stdout=PIPE).stdout == b"/app/below 2 /root []\\n"
        open("script.py", "w").write("import sys, json; print(sys.argv, json.dumps({}))")
        assert (
            subprocess.check_output(["python", "script.py", "x"], text=True)
            == "['script.py', 'x'] {}\\n"
        )
        try:
            python("raise SystemExit(3)", check=True)
        except subprocess.CalledProcessError as error:
            print(error)
        started = time.monotonic()
        try:
            python(
                "import time; print('early', flush=True); time.sleep(100)", timeout=1, stdout=PIPE
            )
        except subprocess.TimeoutExpired as error:
            print(error.stdout, time.monotonic() - started < 50)
        for arguments, options in (
            (["nosuch"], {}),
            (["/nosuch/x"], {}),
            (["/app"], {}),
            (["/app/log"], {}),
            (["python"], {"cwd": "/no"}),
        ):
            try:
                subprocess.run(arguments, **options)
            except OSError as error:
                print(type(error).__name__, error.filename)
        try:
            python("", preexec_fn=print)
        except RuntimeError as error:
            print(str(error).split(":")[0])
        """
    )
    assert printed[0].endswith("returned non-zero exit status 3.")
    assert printed[1:] == [
        "b'early\\n' True",
        "FileNotFoundError nosuch",
        "FileNotFoundError /nosuch/x",
        "PermissionError /app",
        "PermissionError /app/log",
        "FileNotFoundError /no",
        "preexec_fn is not supported",
    ]


def test_subprocess_popen(run: Callable[..., list[str]]) -> None:
    printed = run(
        """
        import os, signal, subprocess, sys
        from subprocess import PIPE, Popen


        def python(source, **options):
            return Popen([sys.executable, "-uc", source], text=True, **options)


        with python(
            "while line := input(): print(line.upper())", stdin=PIPE, stdout=PIPE, bufsize=1
        ) as child:
            for word in ("one", "two"):
                child.stdin.write(word + "\\n")
                print(child.stdout.readline().strip(), child.poll())
            child.stdin.write("\\n")
        print(child.returncode)
        first = python("for number in range(30000): print(number)", stdout=PIPE)
        second = python(
            "import sys; print(sum(map(int, sys.stdin)))", stdin=first.stdout, stdout=PIPE
        )
        first.stdout.close()
        print(second.communicate()[0].strip(), first.wait())
        endless = python("while True: print('y')", stdout=PIPE, stderr=subprocess.DEVNULL)
        print(endless.stdout.readline().strip())
        endless.stdout.close()
        print(endless.wait() != 0)
        sleep = "import time; print('ready', flush=True); time.sleep(100)"
        for end in (Popen.terminate, Popen.kill, lambda child: child.send_signal(signal.SIGHUP)):
            child = python(sleep, stdout=PIPE)
            child.stdout.readline()
            assert child.poll() is None
            end(child)
            print(child.wait())
        busy = python("while True: pass")
        busy.kill()
        print(busy.wait())
        group = python(
            "import os, subprocess, sys; print(os.getsid(0) == os.getpgrp() == os.getpid());"
            "subprocess.run([sys.executable, '-uc', 'import time; print(1); time.sleep(100)'])",
            start_new_session=True,
            stdout=PIPE,
        )
        print(group.stdout.readline().strip(), group.stdout.readline().strip())
        os.killpg(group.pid, signal.SIGTERM)
        print(group.wait(), repr(group.stdout.read()))
        own = python("import os; print(os.getpgrp() == os.getpid())", process_group=0)
        print(own.wait())
        try:
            os.kill(own.pid, 0)
        except ProcessLookupError as error:
            print(error)
        """
    )
    assert printed == [
        "ONE None",
        "TWO None",
        "0",
        "449985000 0",
        "y",
        "True",
        "-15",
        "-9",
        "-1",
        "-9",
        "True 1",
        "-15 ''",
        "True",
        "0",
        "[Errno 71] No such process",
    ]


def test_pipes_fds_and_waiting(run: Callable[..., list[str]]) -> None:
    printed = run(
        """
        import errno, os, select, subprocess, sys

        reading, writing = os.pipe()
        assert not os.get_inheritable(reading)
        os.write(writing, b"through")
        print(os.read(reading, 100))
        os.set_blocking(writing, False)
        sent = 0
        try:
            while True:
                sent += os.write(writing, bytes(65536))
        except BlockingIOError:
            print(sent >= 65536, select.select([reading], [writing], [], 0) == ([reading], [], []))
        os.close(reading)
        try:
            os.write(writing, b"x")
        except BrokenPipeError as error:
            print(error.errno == errno.EPIPE)
        os.close(writing)
        # Duplicates share the offset.
        log = os.open("log", os.O_CREAT | os.O_RDWR)
        copy = os.dup(log)
        os.write(log, b"one")
        os.write(copy, b"two")
        print(os.lseek(log, 0, os.SEEK_CUR))
        # The classic way to redirect.
        saved = os.dup(1)
        os.dup2(log, 1)
        print("three", flush=True)
        subprocess.run([sys.executable, "-c", "print('four')"])
        os.dup2(saved, 1)
        print(open("log").read().split())
        other = os.open("/dev/null", os.O_WRONLY)
        os.dup2(log, other)
        os.write(other, b"five")
        print(open("log").read().split()[-1], os.dup2(log, log) == log)
        fresh = other + 7
        os.dup2(log, fresh)
        os.write(fresh, b"six")
        print(os.get_inheritable(fresh), open("log").read()[-7:])
        for call in (
            lambda: os.dup(500),
            lambda: os.dup2(500, 1),
            lambda: os.dup2(1, -1),
            lambda: os.dup2(1, 3000),
        ):
            try:
                call()
            except OSError as error:
                print(error.errno == errno.EBADF, end=" ")
        print()
        children = {}
        for status in (0, 7):
            children[
                os.spawnv(
                    os.P_NOWAIT, sys.executable, ["python", "-c", f"raise SystemExit({status})"]
                )
            ] = status
        while children:
            pid, status = os.wait()
            assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == children.pop(pid)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError as error:
            print(error)
        pid = os.posix_spawn(
            sys.executable,
            ["python", "-c", "import os, sys; os.write(2, sys.stdin.buffer.read()); os.close(1)"],
            {**os.environ, "B": "1"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "log", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "out", os.O_WRONLY | os.O_CREAT, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        print(os.waitpid(pid, 0) == (pid, 0), open("out").read() == open("log").read())
        print(
            os.spawnlp(os.P_WAIT, "python", "python", "-c", "raise SystemExit(9)"),
            os.spawnlp(os.P_WAIT, "no", "no"),
        )
        print(os.getpid(), os.getppid(), os.getpgrp(), hasattr(os, "fork"))
        child = "import os; print(os.getppid(), os.getpgid(0)); os.kill(os.getpid(), 15)"
        pid = os.spawnv(os.P_NOWAIT, sys.executable, ["python", "-uc", child])
        pid, status = os.waitpid(pid, 0)
        print(os.WIFSIGNALED(status), os.WTERMSIG(status), os.waitstatus_to_exitcode(status))
        sys.stdout.flush()
        os.set_inheritable(log, True)
        code = (
            f"import os, sys; os.write({log}, b'seven');"
            "print(sys.argv[1:], os.getpid(), os.environ['C'], os.getcwd())"
        )
        os.execve(sys.executable, ["python", "-c", code, "x"], {"C": "3"})
        """
    )
    assert printed == [
        "b'through'",
        "True True",
        "True",
        "6",
        "['onetwothree', 'four']",
        "five True",
        "True fivesix",
        "True True True True ",
        "[Errno 12] No child process",
        "True True",
        "9 127",
        "1 0 1 False",
        "1 1",
        "True 15 -15",
        "['x'] 1 3 /app",
    ]


def test_fds_that_are_passed_keep_their_numbers(run: Callable[..., list[str]]) -> None:
    printed = run(
        """
        import os, socket, subprocess, sys

        one, two = os.pipe(), os.pipe()
        log = os.open("log", os.O_CREAT | os.O_RDWR)
        source = (
            f"import os; os.write({one[1]}, os.read({two[0]}, 10)); os.write({log}, b'log');"
            "print('BALENAWASM_FDS' in os.environ)"
        )
        child = subprocess.Popen([sys.executable, "-c", source], pass_fds=[one[1], two[0], log])
        os.close(one[1])
        os.close(two[0])
        os.write(two[1], b"hello")
        print(child.wait(), os.read(one[0], 10), os.read(one[0], 10), open("log").read())
        # Others are closed.
        reading, writing = os.pipe()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        os.close(writing)
        print(os.read(reading, 1))
        child.communicate(b"\\n")
        # Inheritable ones are not, when asked.
        os.set_inheritable(log, True)
        source = f"import os; os.write({log}, b'more')"
        print(
            subprocess.run([sys.executable, "-c", source], close_fds=False).returncode,
            open("log").read(),
        )
        print(subprocess.run([sys.executable, "-c", source], stderr=subprocess.DEVNULL).returncode)
        # A socket, to a grandchild.
        a, b = socket.socketpair()
        grandchild = f"import socket; socket.socket(fileno={b.fileno()}).send(b'from below')"
        child = (
            "import subprocess, sys;"
            f"subprocess.run([sys.executable, '-c', {grandchild!r}], pass_fds=[{b.fileno()}])"
        )
        print(
            subprocess.run([sys.executable, "-c", child], pass_fds=[b.fileno()]).returncode,
            a.recv(100),
        )
        """
    )
    assert printed == [
        "False",
        "0 b'hello' b'' log",
        "b''",
        "0 logmore",
        "1",
        "0 b'from below'",
    ]


def test_asyncio_children(run: Callable[..., list[str]]) -> None:
    printed = run(
        """
        import asyncio, sys
        from asyncio.subprocess import DEVNULL, PIPE


        def python(source, **options):
            return asyncio.create_subprocess_exec(sys.executable, "-uc", source, **options)


        async def main():
            child = await python(
                "import sys; print(sys.stdin.read()[::-1]); sys.exit(3)",
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
            )
            print(await child.communicate(b"abc"), child.returncode)
            child = await python(
                "for number in range(3): print(input(), number)", stdin=PIPE, stdout=PIPE
            )
            for word in (b"a", b"b", b"c"):
                child.stdin.write(word + b"\\n")
                await child.stdin.drain()
                print(await child.stdout.readline())
            print(await child.wait())
            child = await python("import time; time.sleep(100)", stdout=DEVNULL)
            try:
                await asyncio.wait_for(child.wait(), 0.2)
            except TimeoutError:
                child.kill()
            print(await child.wait())
            children = [await python(f"raise SystemExit({number})") for number in range(6)]
            print(await asyncio.gather(*(child.wait() for child in children)))
            data = bytes(1 << 20)
            child = await python(
                "import sys; print(len(sys.stdin.buffer.read()))", stdin=PIPE, stdout=PIPE
            )
            print(await child.communicate(data))
            try:
                await asyncio.create_subprocess_exec("nosuch")
            except FileNotFoundError as error:
                print(error)


        asyncio.run(main())
        """
    )
    assert printed == [
        "(b'cba\\n', b'') 3",
        "b'a 0\\n'",
        "b'b 1\\n'",
        "b'c 2\\n'",
        "0",
        "-9",
        "[0, 1, 2, 3, 4, 5]",
        "(b'1048576\\n', None)",
        "[Errno 44] No such file or directory: 'nosuch'",
    ]


def test_named_pipes(run: Callable[..., list[str]]) -> None:
    printed = run(
        """
        import errno, os, pathlib, subprocess, sys

        for folder in ("/app", "/srv", "/memory"):  # a volume, the container's own layer, memory
            os.makedirs(folder, exist_ok=True)
            path = pathlib.Path(folder, "pipe")
            os.mkfifo(path, 0o600)
            assert path.is_fifo() and not path.is_file(), path.stat()
            try:
                os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                assert error.errno == errno.ENXIO
            writer = subprocess.Popen(
                [sys.executable, "-c", f"open({str(path)!r}, 'w').write('x' * 200000)"]
            )
            print(len(path.read_text()), writer.wait())
            reader = subprocess.Popen([sys.executable, "-c", f"open({str(path)!r})"])
            try:
                reader.wait(0.3)
            except subprocess.TimeoutExpired:
                reader.kill()
            print(reader.wait())
            try:
                os.mkfifo(path)
            except FileExistsError as error:
                assert error.filename == path
            path.unlink()
        """,
        "--tmpfs",
        "/memory",
    )
    assert printed == ["200000 0", "-9"] * 3


def test_a_shell(run: Callable[..., list[str]]) -> None:
    printed = run(
        """
        import os, subprocess, sys

        def output(*arguments, **options):
            done = subprocess.run(*arguments, capture_output=True, text=True, **options)
            print(done.returncode, done.stdout.split(), done.stderr.split())

        output("echo hi | wc -c", shell=True)
        output("echo $WORD; cd /usr && pwd; exit 3", shell=True, env={**os.environ, "WORD": "w"})
        output("for i in 1 2 3; do echo $i; done | sort -r >&2", shell=True)
        output("pwd; ls", shell=True, cwd="/app")
        output("cat | tr a-z A-Z", shell=True, input="typed")
        output(["sh", "-c", 'echo "$1"', "sh", "a  b"])
        output(f"{sys.executable} -c 'print(6 * 7)' | cat", shell=True)
        print(subprocess.getstatusoutput("exit 3"), subprocess.getoutput("echo x"))
        print(os.popen("seq 3 | tail -1").read().strip(), os.popen("exit 2").close())
        with os.popen("cat >written", "w") as pipe:
            pipe.write("z\\n")
        print(open("written").read().strip(), os.popen("kill -9 $$").close())
        codes = [os.system(line) for line in ("true", "exit 5", "kill -9 $$", "nosuch 2>/dev/null")]
        print([os.waitstatus_to_exitcode(code) for code in codes], flush=True)
        try:
            subprocess.run("sleep 100; echo never", shell=True, timeout=0.2)
        except subprocess.TimeoutExpired:
            print("timeout")
        """
    )
    assert printed == [
        "0 ['3'] []",
        "3 ['w', '/usr'] []",
        "0 [] ['3', '2', '1']",
        "0 ['/app', 'program.py'] []",
        "0 ['TYPED'] []",
        "0 ['a', 'b'] []",
        "0 ['42'] []",
        "(3, '') x",
        "3 512",
        "z -2304",
        "[0, 5, -9, 127]",
        "timeout",
    ]


def test_bad_programs_get_errors(run: Callable[..., list[str]]) -> None:
    printed = run(
        """
        import errno, os, subprocess, sys

        for text in (
            "",
            "no such",
            "wait",
            "wait 1 x",
            "kill 1",
            "kill x 9",
            "dup2 0 99999",
            "close 900",
            "setpgid 1 77",
            "getpgid 99",
            "x" * 255,
        ):
            try:
                print("answered", os.readlink("/proc/control/" + text))
            except OSError as error:
                print(errno.errorcode[error.errno], end=" ")
        print()
        for request in (
            b"\\0",
            b"arg=python",
            b"arg\\0",
            b"arg=python\\0fd=0:700\\0",
            b"what=1\\0",
            b"arg=/proc/self/exe\\0",
            b"program=python\\0arg=" + b"x" * (2 << 20) + b"\\0",
        ):
            fd = os.open("/proc/spawn", os.O_RDWR)
            try:
                os.write(fd, request)
                print("started", os.read(fd, 10))
                print(os.wait()[1])
            except OSError as error:
                print(errno.errorcode[error.errno], end=" ")
            os.close(fd)
        print()
        # Another's child, and another's pipe, are not for us.
        grandchild = (
            "import subprocess, sys;"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)']);"
            "print(child.pid, flush=True); child.wait()"
        )
        child = subprocess.Popen([sys.executable, "-c", grandchild], stdout=subprocess.PIPE)
        pid = int(child.stdout.readline())
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            print("not ours")
        reading, writing = os.pipe()
        try:
            os.open(f"/proc/pipe/{os.fstat(writing).st_ino}/peer", os.O_RDONLY)
        except FileNotFoundError:
            print("no peer")
        os.kill(pid, 9)
        print(child.wait())
        """
    )
    assert printed == [
        "EINVAL ENOENT EINVAL EINVAL EINVAL EINVAL EBADF EBADF EPERM ESRCH ENOENT ",
        "EINVAL EINVAL EINVAL EBADF EINVAL started b'2\\n'",
        "0",
        "E2BIG ",
        "not ours",
        "no peer",
        "0",
    ]
