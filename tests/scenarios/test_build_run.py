"""RUN, SHELL and the forms of commands, through the command line, with a program compiled from C
(tests/c/programs/build_step.c: each of its words is an operation).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from balenawasm.build.filetree import walk
from balenawasm.build.layered_tree import LayeredTree
from balenawasm.layer.image_layer import open_layer
from balenawasm.oci.reference import parse_reference
from balenawasm.store.store import Store
from tests.conftest import Cli, processes_of, wait_for_no_process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from c.toolchain import CToolchain

    from balenawasm.store.images import Image


@pytest.fixture(scope="module")
def step(c_toolchain: CToolchain) -> Path:
    return c_toolchain.compile("build_step.c", posix=True)


@pytest.fixture
def project(bare_cli: Cli, step: Path) -> Cli:
    shutil.copyfile(step, bare_cli.directory / "step")
    bare_cli("image", "rm", "t", status=None)
    return bare_cli


def write(cli: Cli, *lines: str, base: str = "FROM scratch\nCOPY step /bin/step\n") -> None:
    (cli.directory / "Balenafile").write_text(base + "\n".join(lines) + "\n")


def step_line(*words: str) -> str:
    return "RUN " + json.dumps(["step", *words])


def build(cli: Cli, *options: str, status: int = 0, **more: object) -> str:
    """Build an image called `t`; returns all that was said."""
    done = cli("build", "-t", "t", *options, ".", status=status, **more)  # type: ignore[arg-type]
    return done.stderr


def image_of(cli: Cli, name: str = "t") -> Image:
    return Store(cli.home / "store").open().images.get(parse_reference(name))


def files_of(cli: Cli, scratch: Path) -> dict[str, tuple[str, int, int, bytes | str]]:
    """Everything in the image but the program: path → mode, owner, group, content or target."""
    layers = [open_layer(path).image for path in image_of(cli).layer_paths]
    tree = LayeredTree("the image", layers, scratch)
    found = {}
    for entry in walk(tree, b""):
        what: bytes | str = ""
        if stat.S_ISREG(entry.mode):
            content = tree.content(entry.path)
            what = content if isinstance(content, bytes) else content.read_bytes()
        elif entry.target is not None:
            what = "-> " + entry.target.decode()
        found[entry.path.decode()] = (stat.filemode(entry.mode), entry.uid, entry.gid, what)
    del found["bin/step"]
    return found


def no_leftovers(cli: Cli) -> bool:
    folders = ("containers", "run/containers", "run/networks", "cache/build")
    names = [name for folder in folders for name in os.listdir(cli.home / folder)]
    return not [name for name in names if name.startswith(("run-", ".tmp-"))]


class TestLayers:
    def test_what_a_command_changes_is_in_the_image(self, project: Cli, tmp_path: Path) -> None:
        (project.directory / "tree").mkdir()
        for name in ("old", "gone", "kept"):
            (project.directory / "tree" / name).write_text(name)
        write(
            project,
            "COPY tree /tree",
            "COPY tree /other",
            "COPY --chmod=1777 tree /tmp",
            "WORKDIR /work",
            step_line("write", "new", "N", "mkdir", "sub", "write", "sub/x", "X"),
            step_line("link", "new", "/tree/linked", "symlink", "../work/new", "/tree/link"),
            step_line("write", "/tree/old", "O", "rm", "/tree/gone", "chmod", "0751", "/work/new"),
            step_line(
                *("rm", "/other/old", "rm", "/other/gone", "rm", "/other/kept", "rmdir", "/other"),
                *("mkdir", "/other", "write", "/other/only", "1", "write", "/tmp/t", "T"),
                *("bind", "/work/socket"),
            ),
        )
        build(project)
        found = files_of(project, tmp_path)
        assert found.pop("tmp") == ("drwxrwxrwt", 0, 0, "")
        assert {path for path in found if path.startswith("tmp/")} == {
            *("tmp/old", "tmp/gone", "tmp/kept", "tmp/t")
        }
        found = {path: it for path, it in found.items() if not path.startswith("tmp/")}
        assert found == {
            "bin": ("drwxr-xr-x", 0, 0, ""),
            "other": ("drwxr-xr-x", 0, 0, ""),
            "other/only": ("-rw-r--r--", 0, 0, b"1"),
            "tree": ("drwxr-xr-x", 0, 0, ""),
            "tree/kept": ("-rw-r--r--", 0, 0, b"kept"),
            "tree/link": ("lrwxrwxrwx", 0, 0, "-> ../work/new"),
            "tree/linked": ("-rw-r--r--", 0, 0, b"N"),
            "tree/old": ("-rw-r--r--", 0, 0, b"O"),
            "work": ("drwxr-xr-x", 0, 0, ""),
            "work/new": ("-rwxr-x--x", 0, 0, b"N"),
            "work/sub": ("drwxr-xr-x", 0, 0, ""),
            "work/sub/x": ("-rw-r--r--", 0, 0, b"X"),
        }
        assert no_leftovers(project)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
    def test_owners(self, project: Cli, tmp_path: Path) -> None:
        write(
            project,
            "COPY --chown=7:8 step /d/step2",
            step_line("write", "/d/mine", "1", "chown", "144", "/d/mine"),
        )
        build(project)
        found = files_of(project, tmp_path)
        assert found["d/mine"][1:3] == (100, 100)
        assert found["d"][1:3] == (7, 8)
        assert found["d/step2"][1:3] == (7, 8)

    @pytest.mark.parametrize(
        "words",
        [
            ("nothing",),
            ("write", "/w/x", "1", "rm", "/w/x"),
            ("mkdir", "/w/d", "rmdir", "/w/d", "chmod", "0755", "/w"),
            ("chmod", "0644", "/w/file"),
            ("bind", "/w/socket"),
        ],
    )
    def test_what_changed_nothing_makes_no_layer(
        self, project: Cli, words: tuple[str, ...]
    ) -> None:
        (project.directory / "file").write_text("x")
        (project.directory / "file").chmod(0o644)
        write(project, "COPY file /w/file", step_line(*words))
        build(project)
        assert len(image_of(project).manifest.layers) == 2
        assert image_of(project).config.history[-1].empty_layer
        assert build(project).count("CACHED") == 3

    def test_a_named_pipe_is_left_out_with_a_warning(self, project: Cli) -> None:
        write(project, step_line("mkfifo", "/pipe"))
        assert "/pipe is left out" in build(project)
        assert len(image_of(project).manifest.layers) == 1

    def test_the_same_again_gives_the_same_digest_whoever_builds(self, project: Cli) -> None:
        write(
            project,
            step_line("write", "/a", "1", "mkdir", "/d", "write", "/d/b", "2"),
            step_line("rm", "/a", "write", "/c", "3"),
        )
        epoch = {"SOURCE_DATE_EPOCH": "1000000000"}
        digests = set()
        for umask in (0o022, 0o077):
            before = os.umask(umask)
            try:
                build(project, "--no-cache", environment=epoch)
            finally:
                os.umask(before)
            digests.add(image_of(project).digest)
        assert len(digests) == 1


class TestEnvironment:
    def test_what_a_command_sees(self, project: Cli) -> None:
        write(
            project,
            "ARG GIVEN=default OTHER UNSET",
            "ENV OTHER=env GREETING='hello you'",
            "WORKDIR /here",
            step_line(*(word for name in (
                "GIVEN", "OTHER", "UNSET", "GREETING", "PWD", "HOSTNAME", "HOME", "PATH", "SECRET"
            ) for word in ("env", name))),
        )  # fmt: skip
        said = build(
            project, "--build-arg", "GIVEN=yes", "--build-arg", "OTHER=arg",
            environment={"SECRET": "of the host"},
        )  # fmt: skip
        for line in (
            "GIVEN=yes", "OTHER=env", "UNSET=(unset)", "GREETING=hello you", "PWD=/here",
            "HOSTNAME=build", "HOME=/root", "SECRET=(unset)",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ):  # fmt: skip
            assert f"] {line}\n" in said
        # Build arguments are for building.
        assert image_of(project).config.environment["OTHER"] == "env"
        assert "GIVEN" not in image_of(project).config.environment

    @pytest.mark.parametrize(
        ("changed", "cached"),
        [
            ({}, True),
            ({"--build-arg": "SEEN=2"}, False),
            ({"--build-arg": "LATER=2"}, True),
            ({"--build-arg": "http_proxy=http://p/"}, True),
            ({"--network": "host"}, False),
            ({"--no-cache": None}, False),
        ],
        ids=str,
    )
    def test_what_breaks_the_cache(
        self, project: Cli, changed: dict[str, str | None], cached: bool
    ) -> None:
        write(project, "ARG SEEN=1", step_line("write", "/x", "1"), "ARG LATER=1")
        build(project)
        words = [word for pair in changed.items() for word in pair if word is not None]
        (line,) = [it for it in build(project, *words).splitlines() if " RUN " in it]
        assert line.endswith("CACHED") == cached

    def test_the_command_the_shell_and_the_environment_are_in_the_key(self, project: Cli) -> None:
        shell = 'SHELL ["step", "sh"]'
        for lines in (
            (step_line("write", "/x", "1"),),
            (step_line("write", "/x", "2"),),
            ("ENV A=1", step_line("write", "/x", "2")),
            ("WORKDIR /bin", step_line("write", "/x", "2")),
            (shell, "RUN text"),
            ('SHELL ["step", "other"]', "RUN text"),
        ):
            write(project, *lines)
            assert not [it for it in build(project).splitlines() if " RUN " in it and "CACH" in it]


class TestFailure:
    def test_it_shows_the_output_the_line_and_the_code(self, project: Cli) -> None:
        write(project, "ENV X=1", "", step_line("a line", "error", "step.c:1: error", "exit", "3"))
        said = build(project, status=1)
        end = said.index("error: Balenafile:5")
        assert said.index("] a line\n") < said.index("] step.c:1: error\n") < end
        message = said[end:]
        assert message == (
            "error: Balenafile:5: the command ended with exit code 3\n"
            '    5 | RUN ["step", "a line", "error", "step.c:1: error", "exit", "3"]\n'
        )
        assert "no image" in project("image", "inspect", "t", status=1).stderr
        assert no_leftovers(project)

    def test_an_older_image_keeps_its_name(self, project: Cli) -> None:
        write(project, step_line("write", "/x", "1"))
        build(project)
        before = image_of(project).digest
        write(project, step_line("write", "/x", "2", "exit", "1"))
        build(project, status=1)
        assert image_of(project).digest == before

    @pytest.mark.parametrize(
        ("line", "parts"),
        [
            ("RUN true", ("no /bin/sh in this image", "code 127", "JSON form", "balenaos/busybox")),
            ('RUN ["nothing"]', ("'nothing'", "no such program", "code 127", "hint: check PATH")),
            ('RUN ["/etc/hosts"]', ("not a WebAssembly module", "code 126")),
            ('SHELL ["/bin/bash", "-c"]\nRUN true', ("no /bin/bash in this image", "code 127")),
        ],
    )
    def test_what_cannot_be_started(self, project: Cli, line: str, parts: tuple[str, ...]) -> None:
        write(project, line)
        said = build(project, status=1)
        for part in ("Balenafile:", line.splitlines()[-1], *parts):
            assert part in said

    def test_a_limit_of_memory(self, project: Cli) -> None:
        write(project, step_line("grab", "64"))
        build(project)
        assert "grab: error 12" in build(project, "--no-cache", "--memory", "32m", status=1)

    def test_a_trap_says_why(self, project: Cli) -> None:
        module = '(module (func (export "_start") unreachable))'
        (project.directory / "trap.wat").write_text(module)
        from balenawasm.engine.wat import wat_to_wasm

        (project.directory / "step").write_bytes(wat_to_wasm(module))
        write(project, step_line())
        said = build(project, status=1)
        assert "exit code 134" in said
        assert "unreachable" in said


class TestEnding:
    @staticmethod
    @contextmanager
    def building(project: Cli, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A build that runs a command and does not end by itself."""
        write(project, step_line("at it", "write", "/x", "1", *words))
        process = project.start("build", "-t", "t", ".", stderr=-1, stdin=-3)
        try:
            assert process.stderr is not None
            while "at it" not in (line := process.stderr.readline()):
                assert line, process.wait()
            yield process
        finally:
            process.kill()
            process.communicate()

    @pytest.mark.parametrize("words", [("hang",), ("spin",)])
    def test_ctrl_c_ends_the_command(self, project: Cli, words: tuple[str, ...]) -> None:
        with self.building(project, *words) as process:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        assert not wait_for_no_process(project.home)
        assert no_leftovers(project)
        project("image", "inspect", "t", status=1)


def test_json_has_the_output_as_events(project: Cli) -> None:
    write(project, step_line("one", "error", "two"))
    done = project("build", "--progress", "json", ".")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    lines = [(it["line"], it["number"]) for it in events if it["event"] == "StepOutput"]
    assert lines == [("one", 3), ("two", 3)]


class TestNetwork:
    """With Python, which can connect."""

    def line(self, port: int, *flags: str) -> str:
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        return " ".join(["RUN", *flags, json.dumps(["python", "-c", program])])

    @pytest.fixture
    def port(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=self.accept, args=(server,), daemon=True)
            thread.start()
            yield server.getsockname()[1]

    @staticmethod
    def accept(server: socket.socket) -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return

    @staticmethod
    def try_it(cli: Cli, line: str, *options: str, status: int = 0) -> str:
        write(cli, line, base="FROM balenaos/python\n")
        return build(cli, "--no-cache", *options, status=status)

    def test_the_host_is_reached_when_somebody_says_so(self, cli: Cli, port: int) -> None:
        self.try_it(cli, self.line(port, "--network=host"))
        self.try_it(cli, self.line(port), "--network", "host")
        for flags in ((), ("--network=default",), ("--network=none",)):
            assert "ConnectionRefused" in self.try_it(cli, self.line(port, *flags), status=1)
        said = self.try_it(cli, self.line(port, "--network=none"), "--network", "host", status=1)
        assert "ConnectionRefused" in said
        said = self.try_it(cli, self.line(port, "--network=host"), "--network", "none", status=1)
        assert "--network none" in said


def test_a_killed_builder_leaves_nothing_that_runs(project: Cli) -> None:
    with TestEnding.building(project, "spin") as process:
        assert len(processes_of(project.home)) > 1
        process.kill()
        process.wait()
        assert not wait_for_no_process(project.home)
    write(project, step_line("write", "/x", "2"))
    build(project)
    assert no_leftovers(project)


def test_a_denial_names_what_would_grant_it(cli: Cli) -> None:
    program = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=0.1)"
    line = "RUN " + json.dumps(["python", "-c", program])
    said = TestNetwork.try_it(cli, line, status=1)
    assert "connection to 192.0.2.1:80 denied" in said
    assert 'build with --allow "tcp://192.0.2.1:80"' in said
    assert "RUN --network=host" in said
    assert "denied" not in TestNetwork.try_it(cli, line, "--allow", "tcp://192.0.2.1:80", status=1)


class TestShells:
    def test_shell_is_recorded_and_used(self, project: Cli) -> None:
        write(project, 'SHELL ["step", "-c"]', "RUN one  two", "CMD three four")
        assert "] one  two\n" in build(project)
        config = image_of(project).config
        assert config.shell == ("step", "-c")
        assert config.cmd == ("step", "-c", "three four")
        assert project("run", "t").stdout == "-c\nthree four\n"

    def test_here_documents(self, project: Cli) -> None:
        """Alone the shell's text; beside a command the shell's business; with `#!` a script."""
        write(
            project,
            'SHELL ["step", "-c"]',
            *("RUN <<EOF", "if true; then", "  # fi", "EOF"),
            *("RUN tee <<-A /x", "\tFROM a", "\tA"),
            *("RUN <<go", "#!/bin/step cat", "echo in it", "go"),
        )
        said = build(project)
        head = "   [t:latest {}/6] "
        assert f"{head.format(4)}if true; then\n{head.format(4)}  # fi\n" in said
        assert f"{head.format(5)}tee <<-A /x\n{head.format(5)}\tFROM a\n{head.format(5)}A\n" in said
        assert f"{head.format(6)}#!/bin/step cat\n{head.format(6)}echo in it\n" in said
        assert len(image_of(project).manifest.layers) == 1
        assert build(project).count("CACHED") == 4
        text = (project.directory / "Balenafile").read_text()
        (project.directory / "Balenafile").write_text(text.replace("echo in it", "echo in this"))
        assert build(project).count("CACHED") == 3

    def test_a_child_image_inherits_the_shell(self, project: Cli) -> None:
        write(project, 'SHELL ["step", "-c"]')
        project("build", "-t", "parent", ".")
        write(project, "CMD x", base="FROM parent\n")
        build(project)
        assert image_of(project).config.cmd == ("step", "-c", "x")

    @pytest.mark.parametrize(
        ("text", "printed"),
        [
            ("step a  'b c'", "a\nb c\n"),
            ("exec step a", "a\n"),
            ("step a; step b", "-c\nstep a; step b\n"),
            ("nothing here", "-c\nnothing here\n"),
            ("cd /", "-c\ncd /\n"),
        ],
    )
    def test_what_needs_no_shell_is_process_1_itself(
        self, project: Cli, text: str, printed: str
    ) -> None:
        """The shell is the same program, which prints its arguments."""
        write(project, "COPY step /bin/sh", f"CMD {text}")
        build(project)
        assert image_of(project).config.cmd == ("/bin/sh", "-c", text)
        assert project("run", "t").stdout == printed

    @pytest.mark.parametrize(
        ("entrypoint", "cmd", "words"),
        [
            (None, 'CMD ["step", "c1", "c2"]', "c1 c2"),
            (None, "CMD step c", "-c|step c"),
            ('ENTRYPOINT ["step", "e"]', None, "e"),
            ('ENTRYPOINT ["step", "e"]', 'CMD ["c1", "c2"]', "e c1 c2"),
            ('ENTRYPOINT ["step", "e"]', "CMD c1 c2", "e step -c|c1 c2"),
            ("ENTRYPOINT step e", None, "-c|step e"),
            ("ENTRYPOINT step e", 'CMD ["c1"]', "-c|step e|c1"),
        ],
    )
    def test_docker_s_table_of_entry_points_and_commands(
        self, project: Cli, entrypoint: str | None, cmd: str | None, words: str
    ) -> None:
        """With `step -c` for the shell: what is behind a shell's text are its parameters."""
        lines = [line for line in (entrypoint, cmd) if line is not None]
        write(project, 'SHELL ["step", "-c"]', *lines)
        build(project)
        expected = words.replace("|", "\n")
        printed = project("run", "t").stdout
        assert printed.split() == expected.split()

    def test_health_checks_are_recorded(self, project: Cli) -> None:
        write(project, "HEALTHCHECK --interval=5s --retries=2 CMD step ok || exit 1")
        assert "HEALTHCHECK" in build(project)
        check = image_of(project).config.healthcheck
        assert check is not None
        assert check.test == ("CMD-SHELL", "step ok || exit 1")
        assert (check.interval, check.retries) == (5_000_000_000, 2)
        write(project, 'HEALTHCHECK CMD ["step"]')
        build(project)
        assert image_of(project).config.healthcheck.test == ("CMD", "step")  # type: ignore[union-attr]
        write(project, "HEALTHCHECK NONE")
        build(project)
        assert image_of(project).config.healthcheck.test == ("NONE",)  # type: ignore[union-attr]


def test_with_a_real_shell(busybox_cli: Cli, tmp_path: Path) -> None:
    lines = (
        "ARG WORD=given",
        "WORKDIR /srv",
        'RUN echo "$WORD" | tr a-z A-Z >word && mkdir -p a/b; chmod 700 a; ln -s word link',
        *("RUN <<EOF", "set -e", "for i in 1 2 3; do", "\techo $i", "done | wc -l", "EOF"),
        *("RUN cat <<A >both; cat <<-'B' >>both", "$WORD", "A", "\t$WORD", "\tB"),
        "RUN rm -r a /root && touch -d @5 word",
        "RUN true | false; sh -c 'exit 3'; exit $(($? + 1))",
    )
    write(busybox_cli, *lines[:-1], base="FROM balenaos/busybox\n")
    said = build(busybox_cli, environment={"SOURCE_DATE_EPOCH": "10"})
    assert "] 3\n" in said
    files = "cd /srv && cat word both && stat -c '%n %a %Y' * && ls -d / /root"
    printed = busybox_cli("run", "t", "sh", "-c", files, status=1)
    assert printed.stdout.split("\n") == [
        *("GIVEN", "given", "$WORD", "both 644 10", "link 777 0", "word 644 5", "/", ""),
    ]
    write(busybox_cli, *lines, base="FROM balenaos/busybox\n")
    said = build(busybox_cli, status=1, environment={"SOURCE_DATE_EPOCH": "10"})
    assert said.count("CACHED") == 5
    assert f"Balenafile:{len(lines) + 1}: the command ended with exit code 4" in said
