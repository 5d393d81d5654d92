"""The conformance runner: on modules of our own, and on the folder that WASI_TESTSUITE names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.test_preview1_programs import program
from tests.wasi_testsuite import PLACEMENTS, SuiteError, read_suites

if TYPE_CHECKING:
    from collections.abc import Iterable

TOP = Path(__file__).parents[2]


SAYS_HI = program(
    "fd_write",
    "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))",
    data=r'(data (i32.const 0) "\20\00\00\00\02\00\00\00") (data (i32.const 32) "hi")',
)
EXITS_3 = program("proc_exit", "(call $proc_exit (i32.const 3))")
COUNTS = program(
    "args_sizes_get environ_sizes_get proc_exit",
    """(drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (drop (call $environ_sizes_get (i32.const 8) (i32.const 4)))
    (call $proc_exit (i32.add
        (i32.mul (i32.load (i32.const 0)) (i32.const 10)) (i32.load (i32.const 8))))""",
)
# Removes /file and makes /made: each placement has to give each module a copy of its own.
CHANGES_ITS_ROOT = program(
    "path_unlink_file path_create_directory proc_exit",
    """(call $proc_exit (i32.add
        (call $path_unlink_file (i32.const 3) (i32.const 0) (i32.const 4))
        (call $path_create_directory (i32.const 3) (i32.const 4) (i32.const 4))))""",
    data='(data (i32.const 0) "filemade")',
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two suites, one of them of another version of WASI."""
    suite = tmp_path / "tests" / "ours" / "wasm32-wasip1"
    (suite / "fs.dir").mkdir(parents=True)
    (suite / "fs.dir" / "file").write_text("x")
    tests: dict[str, tuple[bytes, object]] = {
        "says-hi": (SAYS_HI, {"stdout": "hi"}),
        "silent": (SAYS_HI, None),
        "exits": (EXITS_3, {"exit_code": 3}),
        "counts": (COUNTS, {"args": ["a", "b c"], "env": {"X": "1\n2"}, "exit_code": 31}),
        "changes": (CHANGES_ITS_ROOT, {"root": "fs.dir"}),
        "changes-too": (CHANGES_ITS_ROOT, {"root": "fs.dir"}),
        "operations": (
            EXITS_3,
            {"operations": [{"type": "run"}, {"type": "wait", "exit_code": 3}]},
        ),
    }
    for name, (wasm, manifest) in tests.items():
        (suite / f"{name}.wasm").write_bytes(wasm)
        if manifest is not None:
            (suite / f"{name}.json").write_text(json.dumps(manifest))
    (suite / "manifest.json").write_text('{"name": "ours", "version": "wasm32-wasip1"}')
    newer = tmp_path / "tests" / "ours" / "wasm32-wasip3"
    newer.mkdir()
    (newer / "component.wasm").write_bytes(b"\0asm")
    return tmp_path / "tests"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.wasi_testsuite", *map(str, words)],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )


def counts(documents: Iterable[dict[str, object]]) -> dict[object, tuple[object, object]]:
    return {d["placement"]: (d["passed"], d["total"]) for d in documents}


def test_modules_that_do_what_they_should_pass_in_each_placement(folder: Path) -> None:
    done = run(folder, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["passed"], document["total"]) == (21, 21)
    assert counts(document["suites"]) == dict.fromkeys(PLACEMENTS, (7, 7))


def test_what_went_wrong_is_told(folder: Path) -> None:
    suite = folder / "ours" / "wasm32-wasip1"
    (suite / "exits.json").write_text('{"exit_code": 4}')
    (suite / "says-hi.json").write_text('{"stdout": "ho"}')
    done = run(folder, "--placement", "host")
    assert done.returncode == 1
    assert "exits: exit status 3, not 4" in done.stderr
    assert "says-hi: stdout is 'hi', not 'ho'" in done.stderr
    assert "5/7" in done.stdout


def test_a_folder_without_modules_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert "no preview 1 modules" in done.stderr


def test_an_operation_of_another_preview_is_refused(folder: Path) -> None:
    manifest = folder / "ours" / "wasm32-wasip1" / "exits.json"
    manifest.write_text('{"operations": [{"type": "connect"}]}')
    with pytest.raises(SuiteError, match="connect"):
        read_suites(folder)


@pytest.mark.skipif("WASI_TESTSUITE" not in os.environ, reason="WASI_TESTSUITE names no folder")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", [(), ("--without-accelerator",)], ids=["c", "python"])
def test_the_public_suite(options: tuple[str, ...]) -> None:
    done = run(Path(os.environ["WASI_TESTSUITE"]), "--json", *options)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["passed"] == document["total"] == 72 * len(PLACEMENTS)
