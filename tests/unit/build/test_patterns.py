"""Wildcards: what Go's path.Match and moby's .dockerignore patterns match."""

from __future__ import annotations

import pytest

from balenawasm.build.patterns import (
    PatternError,
    compile_component,
    compile_ignore_pattern,
    has_wildcard,
    literal_start,
)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*", ["a", ".hidden", "ü"], ["a/b"]),
        ("*.py", ["a.py", ".py"], ["a.pyc", "apy"]),
        ("a?c", ["abc", "aüc"], ["ac", "abbc", "a/c"]),
        ("[ab]", ["a", "b"], ["c", "ab", "["]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[^a-c]", ["d", "!"], ["a", "/"]),
        ("[!a]", ["!", "a"], ["b"]),
        (r"[\]]", ["]"], ["\\"]),
        (r"a\*b", ["a*b"], ["aab", r"a\*b"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a**b", ["ab", "axyb"], ["a/b"]),
        ("x{1}", ["x{1}"], ["x"]),
    ],
)
def test_components(pattern, matching, other):
    regex = compile_component(pattern)
    assert [name for name in matching if not regex.fullmatch(name)] == []
    assert [name for name in other if regex.fullmatch(name)] == []


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[a-]", "[-a]", "[c-a]", "a\\", "[^]"])
def test_malformed_patterns_are_refused(pattern):
    with pytest.raises(PatternError) as caught:
        compile_component(pattern)
    assert repr(pattern) in caught.value.message


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("**", ["a", "a/b", "a/b/c"], []),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax", "x/a"]),
        ("a/**", ["a/b", "a/b/c"], ["b/a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz/y"]),
        ("*/x", ["a/x"], ["x", "a/b/x"]),
        ("a*", ["a", "ab"], ["a/b"]),
    ],
)
def test_ignore_patterns(pattern, matching, other):
    regex = compile_ignore_pattern(pattern)
    assert [name for name in matching if not regex.fullmatch(name)] == []
    assert [name for name in other if regex.fullmatch(name)] == []


def test_what_a_wildcard_is():
    assert not has_wildcard("src/app-1.0_x.py")
    assert all(has_wildcard(text) for text in ("*", "a?", "[x", "a\\b"))
    assert literal_start("a/b*c") == "a/b"
    assert literal_start("plain") == "plain"
