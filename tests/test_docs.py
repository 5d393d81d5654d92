"""What the documents say of the repository is so."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
DOCUMENTS = sorted((TOP / "docs").rglob("*.md"))


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((TOP / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_test_that_is_named_exists(document: Path) -> None:
    missing = [
        f"{path}::{name}"
        for path, name in NAMED.findall(document.read_text())
        if not (TOP / path).is_file() or name not in functions_in(path)
    ]
    assert missing == []


def test_every_attempt_names_a_test() -> None:
    text = (TOP / "docs" / "security.md").read_text()
    attempts = text.partition("## Attempts")[2].partition("## Known limits")[0]
    rows = [line for line in attempts.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| attempt")]
    assert len(rows) > 50
    assert [row for row in rows if not NAMED.search(row)] == []
