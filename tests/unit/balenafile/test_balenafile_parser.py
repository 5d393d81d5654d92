import logging
from pathlib import Path

import pytest

from balenawasm.balenafile.parser import parse_text
from balenawasm.balenafile.source import BalenafileError


def nodes(text: str) -> list[tuple[str, str, int, int]]:
    return [
        (node.keyword, node.value, node.where.first_line, node.where.last_line)
        for node in parse_text(text, "B").nodes
    ]


def test_windows_line_ends_and_byte_order_mark() -> None:
    assert nodes("\ufeff# escape=`\r\nFROM a\r\nCOPY b `\r\n  c\r\n") == [
        ("FROM", "a", 2, 2),
        ("COPY", "b   c", 3, 4),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM", [("FROM", "", 1, 1)]),
        ("FROM a \\", [("FROM", "a", 1, 1)]),
        ("FROM a \\\n\n# x\n", [("FROM", "a", 1, 1)]),
        ("FR\\\nOM a", [("FROM", "a", 1, 2)]),
        ("\\\nFROM a", [("FROM", "a", 1, 2)]),
        ("FROM a\\\nb", [("FROM", "ab", 1, 2)]),
        ("FROM a \\ \t\n  b", [("FROM", "a   b", 1, 2)]),
        ("FROM a \\\\\nCMD b", [("FROM", "a \\\\", 1, 1), ("CMD", "b", 2, 2)]),
        ("FROM a \\\n  # gone \\\n b", [("FROM", "a  b", 1, 3)]),
        ("FROM a # stays", [("FROM", "a # stays", 1, 1)]),
        ("\tfrom\ta", [("FROM", "a", 1, 1)]),
        ("CMD a\x0bb\x85c", [("CMD", "a\x0bb\x85c", 1, 1)]),
        ("", []),
        ("\\", []),
        ("#", []),
    ],
)
def test_lines_become_nodes(text: str, expected: list[tuple[str, str, int, int]]) -> None:
    assert nodes(text) == expected


@pytest.mark.parametrize(
    ("text", "escape"),
    [
        ("# escape=`", "`"),
        ("#EsCaPe = `  ", "`"),
        ("# syntax=x\n#check=y\n#escape=`", "`"),
        ("\n# escape=`", "\\"),
        ("# other=1\n# escape=`", "\\"),
        ("# hello\n# escape=`", "\\"),
        ("FROM a\n# escape=`", "\\"),
    ],
)
def test_escape_directive(text: str, escape: str) -> None:
    assert parse_text(text, "B").escape == escape


def test_positions_show_the_line_as_written() -> None:
    (node,) = parse_text("\n\t FROM  a \\\n b", "dir/B").nodes
    assert str(node.where) == "dir/B:2"
    assert node.where.text == "\t FROM  a \\"
    assert node.where.excerpt() == "    2 |      FROM  a \\"


def test_long_lines_are_shortened_in_messages() -> None:
    (node,) = parse_text("CMD " + "x" * 5000, "B").nodes
    assert len(node.where.excerpt()) < 250


def test_nul_is_refused_with_its_line() -> None:
    with pytest.raises(BalenafileError, match=r"B:2: .*NUL"):
        parse_text("FROM a\nCMD \0", "B")


def test_nothing_is_written_or_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.DEBUG):
        parse_text("FROM a\nENV b=$c\nCMD d", "Dockerfile")
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []
