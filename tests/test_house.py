"""The house rules that a machine can check: layers, types, style, sizes, empty package files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "balenawasm"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FILE_CEILING = 500
FUNCTION_CEILING = 60
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


def run_tool(*words: str) -> None:
    tool = Path(sys.executable).parent / words[0]
    done = subprocess.run(
        [str(tool), *words[1:]], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    run_tool("ruff", "check", "balenawasm", "tests", "benchmarks")


def test_code_is_formatted() -> None:
    run_tool("ruff", "format", "--check", "balenawasm", "tests", "benchmarks")


@pytest.mark.timeout(300)
def test_types_are_strict() -> None:
    run_tool("mypy")


def test_imports_point_down() -> None:
    run_tool("lint-imports")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(TOP)))
def test_sizes_and_names(path: Path) -> None:
    text = path.read_text()
    assert not FORBIDDEN_NAMES & set(path.relative_to(PACKAGE).with_suffix("").parts)
    if path.name == "__init__.py":
        assert text.strip() == "", "code in __init__.py makes the package its own parent"
        return
    assert len(text.splitlines()) <= FILE_CEILING, "a room is missing"
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_CEILING, f"{node.name} has {lines} lines"
