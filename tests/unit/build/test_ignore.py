""".dockerignore: Docker's rules, in Docker's order."""

from __future__ import annotations

import pytest

from balenawasm.build.ignore import IgnoreFileError, IgnoreRules, read_ignore_rules
from balenawasm.build.patterns import PatternError


@pytest.mark.parametrize(
    ("lines", "excluded", "kept"),
    [
        (["*.md"], ["README.md"], ["docs/README.md", "md"]),
        (["**/*.md"], ["README.md", "docs/a/x.md"], ["x.mdx"]),
        (["node_modules"], ["node_modules", "node_modules/a/b"], ["a/node_modules"]),
        (["/build/"], ["build", "build/x"], ["src/build"]),
        (["*.md", "!README.md"], ["a.md"], ["README.md"]),
        (["!README.md", "*.md"], ["README.md"], []),
        (["*", "!src"], ["a", "b/c"], ["src", "src/x/y"]),
        (["docs", "!docs/keep.md"], ["docs", "docs/a.md"], ["docs/keep.md"]),
        (["*", "!**/*.py"], ["a.txt", "d/b.txt"], ["a.py", "d/e/b.py"]),
        (["# comment", "", "  x  ", " #y"], ["x", "#y"], ["# comment"]),
        (["! x", "x"], ["x"], []),
        (["../x", "./y", "a/../z"], ["x", "y", "z"], ["a"]),
        (["."], [], ["a"]),
        (["!"], [], ["a"]),
        (["a?b", "[cd]"], ["axb", "c"], ["ab", "e"]),
    ],
)
def test_rules(lines, excluded, kept):
    rules = IgnoreRules(lines)
    assert [path for path in excluded if not rules.excludes(path)] == []
    assert [path for path in kept if rules.excludes(path)] == []


def test_the_order_of_questions_does_not_matter():
    rules = IgnoreRules(["a/**", "!a/b/c"])
    assert rules.excludes("a/b/d")
    assert not rules.excludes("a/b/c")
    assert not rules.excludes("a/b/c/d/e")
    assert rules.excludes("a/x/c")
    assert not rules.excludes("")


def test_where_a_rule_could_take_back():
    rules = IgnoreRules(["*", "!src/keep/x", "!**/*.py"])
    assert rules.may_take_back_below("src")
    assert rules.may_take_back_below("anything")
    only_literal = IgnoreRules(["*", "!src/keep/x"])
    assert only_literal.may_take_back_below("src/keep")
    assert only_literal.may_take_back_below("src/keep/x/deep")
    assert not only_literal.may_take_back_below("node_modules")


def test_the_balenafile_s_own_file_wins(tmp_path):
    (tmp_path / ".dockerignore").write_bytes(b"\xef\xbb\xbfa\r\n")
    rules = read_ignore_rules(tmp_path, tmp_path / "Balenafile")
    assert rules.excludes("a")
    (tmp_path / "Balenafile.dockerignore").write_text("b\n")
    rules = read_ignore_rules(tmp_path, tmp_path / "Balenafile")
    assert (rules.excludes("a"), rules.excludes("b")) == (False, True)
    assert rules.source == "Balenafile.dockerignore"
    assert not read_ignore_rules(tmp_path / "none", tmp_path / "none/Balenafile").excludes("a")


def test_bad_files_are_named(tmp_path):
    (tmp_path / ".dockerignore").write_bytes(b"\xff")
    with pytest.raises(IgnoreFileError, match="not UTF-8"):
        read_ignore_rules(tmp_path, tmp_path / "Balenafile")
    (tmp_path / ".dockerignore").write_bytes(b"[a")
    with pytest.raises(PatternError):
        read_ignore_rules(tmp_path, tmp_path / "Balenafile")
