"""balenaos/c: compilers and tools as a user calls them, and RUN with what does not compile."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    import subprocess

    from tests.conftest import Cli

# What is missing of the C and C++ libraries is made first, once for all sessions.
pytestmark = pytest.mark.timeout(900)

CXX = Path(__file__).parents[1] / "c" / "cxx"
SOURCES = {
    "main.c": """
        #include <stdio.h>
        #include "lib/other.h"
        int main(int argc, char **argv)
        {
            printf("%s %s %s %d\\n", argc > 1 ? argv[1] : "-", other(), __FILE__, VALUE);
            return 3;
        }
        """,
    "lib/other.h": "#define VALUE 7\nconst char *other(void);\n",
    "lib/other.c": 'const char *other(void) { return "other"; }\n',
    "wrong.c": "int main(void) { return nothing; }\n",
    "undefined.c": "int missing(void);\nint main(void) { return missing(); }\n",
}


@pytest.fixture
def project(c_cli: Cli) -> Cli:
    for name, text in SOURCES.items():
        path = c_cli.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return c_cli


class Tool(Protocol):
    def __call__(
        self, *words: str, cwd: str = "/src", **options: object
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def tool(project: Cli) -> Tool:
    """Run a program of the image over the project, in `cwd`."""

    def run(*words: str, cwd: str = "/src", **options: object) -> subprocess.CompletedProcess[str]:
        given = ("-i",) if "stdin" in options else ()
        mount = ("-v", f"{project.directory}:/src", "-w", cwd)
        return project("run", *given, *mount, "balenaos/c", *words, **options)  # type: ignore[arg-type]

    return run


def output(project: Cli, program: str, *words: str, status: int = 3) -> str:
    return project("run", program, *words, status=status, timeout=300).stdout


def test_sources_become_a_program(project: Cli, tool: Tool) -> None:
    assert tool("cc", "-Wall", "main.c", "lib/other.c", "-o", "program.wasm").stderr == ""
    assert output(project, "program.wasm", "a") == "a other main.c 7\n"
    tool("cc", "main.c", "lib/other.c")
    assert (project.directory / "a.out").stat().st_mode & 0o777 == 0o755


def test_objects_archives_and_libraries(project: Cli, tool: Tool) -> None:
    tool("cc", "-c", "-g", "main.c")
    tool("cc", "-c", "other.c", "-o", "../other.o", "-MD", "-MF", "other.d", cwd="/src/lib")
    assert (project.directory / "lib/other.d").read_text() == "../other.o: other.c\n"
    tool("ar", "rcs", "lib/libother.a", "other.o")
    assert tool("ar", "t", "libother.a", cwd="/src/lib").stdout == "other.o\n"
    tool("cc", "../main.o", "-L.", "-lother", "-lm", "-static", "-o", "../one.wasm", cwd="/src/lib")
    assert output(project, "one.wasm") == "- other main.c 7\n"
    assert " T other\n" in tool("nm", "other.o").stdout
    before = (project.directory / "one.wasm").stat().st_size
    tool("strip", "one.wasm")
    assert (project.directory / "one.wasm").stat().st_size < before
    assert (project.directory / "one.wasm").stat().st_mode & 0o777 == 0o755
    assert output(project, "one.wasm") == "- other main.c 7\n"
    (project.directory / "other.o").unlink()
    tool("ar", "x", "lib/libother.a")
    assert (project.directory / "other.o").exists()


def test_other_ways_to_say_it(project: Cli, tool: Tool) -> None:
    (project.directory / "words").write_text("main.c lib/other.c -o two.wasm")
    tool("cc", "@words")
    assert output(project, "two.wasm") == "- other main.c 7\n"
    tool("clang", "-x", "c", "-", "-o", "three.wasm", stdin="int main(void) { return 5; }\n")
    assert output(project, "three.wasm", status=5) == ""
    assert "other(void)" in tool("cc", "-E", "lib/other.c").stdout
    assert ".functype" in tool("cc", "-S", "lib/other.c", "-o", "-").stdout
    assert tool("cc", "--version").stdout.startswith("clang version 22")
    (project.directory / "lib/answer.S").write_text(
        "#define NAME answer\n\t.globl NAME\n\t.type NAME,@function\nNAME:\n"
        "\t.functype NAME () -> (i32)\n\ti32.const 42\n\tend_function\n"
    )
    tool("cc", "-c", "answer.S", cwd="/src/lib")
    assert "T answer" in tool("nm", "lib/answer.o").stdout
    tool("cc", "-c", "-save-temps", "lib/other.c", "-o", "lib/saved.o")
    assert (project.directory / "other.s").exists()
    # Files that a program inherits are not in the way of clang's own C library.
    tool("sh", "-c", "exec 3</dev/null 4</dev/null; cc -c lib/other.c && ar rcs lib/x.a other.o")
    assert (project.directory / "lib/x.a").exists()
    define = tool("cc", "-dM", "-E", "-pthread", "-x", "c", "-", stdin="").stdout
    assert "#define __linux__ 1" in define
    assert "__wasi__" not in define


def test_the_compilers_words_and_status_are_its_own(project: Cli, tool: Tool) -> None:
    wrong = tool("cc", "wrong.c", "-o", "x.wasm", status=1)
    assert wrong.stderr.startswith("wrong.c:1:25: error: use of undeclared identifier 'nothing'\n")
    assert "2 errors" not in wrong.stderr
    missing = tool("cc", "undefined.c", status=1).stderr
    assert "undefined symbol: missing" in missing
    assert "linker command failed with exit code 1" in missing
    assert tool("cc", status=1).stderr == "clang: error: no input files\n"
    nothing = tool("cc", "-c", "none.c", status=1).stderr
    assert nothing == "clang: error: no such file or directory: 'none.c'\n"
    shared = tool("cc", "-shared", "main.c", status=1).stderr
    assert shared.startswith("cc: error: -shared: ")
    assert shared.count("\n") == 1
    assert not (project.directory / "x.wasm").exists()


def test_no_temporary_files_stay(project: Cli) -> None:
    mounts = ("-v", f"{project.directory}:/src", "-w", "/src", "-v", f"{project.directory}/t:/tmp")
    (project.directory / "t").mkdir()
    project("run", *mounts, "balenaos/c", "cc", "main.c", "lib/other.c")
    project("run", *mounts, "balenaos/c", "cc", "main.c", "wrong.c", status=1)
    assert list((project.directory / "t").iterdir()) == []


def test_the_cxx_library(project: Cli, tool: Tool) -> None:
    shutil.copy(CXX / "library.cpp", project.directory)
    tool("c++", "-std=c++17", "-Wall", "-Wextra", "library.cpp", "-o", "library.wasm")
    done = project("run", "-i", "library.wasm", stdin="one\ntwo\n", status=3, timeout=300)
    assert done.stdout == (CXX / "library.expected").read_text()
    uncaught = project("run", "library.wasm", "x", status=134).stderr
    assert "terminating due to uncaught exception of type St11logic_error: nobody" in uncaught


def test_an_error_of_the_compiler_in_run(project: Cli) -> None:
    (project.directory / "Balenafile").write_text(
        'FROM balenaos/c\nCOPY wrong.c /\nRUN ["cc", "wrong.c", "-o", "wrong"]\n'
    )
    project("image", "rm", "wrong", status=None)
    failed = project("build", "-t", "wrong", ".", status=1).stderr
    assert "wrong.c:1:25: error: use of undeclared identifier 'nothing'" in failed
    assert "Balenafile:3" in failed
    project("image", "inspect", "wrong", status=1)


def test_make(project: Cli, tool: Tool) -> None:
    (project.directory / "Makefile").write_text(
        "program: main.o lib/other.o\n\tcc $^ -o $@\n"
        "%.o: %.c\n\tcc -c $< -o $@\n"
        "clean: ; rm -f *.o */*.o && echo $(shell echo cleaned)\n"
        "fail: ; @exit 7\n"
    )
    assert tool("make", "-j2").stdout.splitlines()[-1] == "cc main.o lib/other.o -o program"
    assert tool("./program", "made", status=3).stdout == "made other main.c 7\n"
    assert tool("make").stdout == "make: 'program' is up to date.\n"
    assert tool("make", "clean").stdout.endswith("cleaned\n")
    assert "[Makefile:6: fail] Error 7" in tool("make", "fail", status=2).stderr
