"""The tables follow the Dockerfile reference and BuildKit's documented behaviour."""

import pytest

from balenawasm.balenafile.words import (
    UnsupportedSubstitutionError,
    WordError,
    check_word,
    process_word,
    process_words,
    split_words,
)

VARIABLES = {"a": "1", "empty": "", "two": "x y", "A1": "up", "q": "'\"$a\\"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$a", "1"),
        ("${a}", "1"),
        ("$a$a", "11"),
        ("$a.$A1-", "1.up-"),
        ("$ab", ""),
        ("${a}b", "1b"),
        ("x$", "x$"),
        ("x$ y", "x$ y"),
        ("$/", "$/"),
        ("$1x", "x"),
        ("$@", ""),
        ("$q", "'\"$a\\"),
        # quotes
        ("'$a'", "$a"),
        ('"$a"', "1"),
        ("'a b'", "a b"),
        ("a' 'b", "a b"),
        ("'a\\'b", "a\\b"),
        ('"a\\"b"', 'a"b'),
        ('"\\$a"', "$a"),
        ('"\\\\"', "\\"),
        ('"\\n"', "\\n"),
        ('"\'"', "'"),
        ("'\"'", '"'),
        ("\"'$a'\"", "'1'"),
        # escapes
        ("\\$a", "$a"),
        ("\\a\\ b", "a b"),
        ("\\\\", "\\"),
        ("end\\", "end"),
        # substitutions
        ("${a:-d}", "1"),
        ("${none:-d}", "d"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${none-d}", "d"),
        ("${a:+r}", "r"),
        ("${none:+r}", ""),
        ("${empty:+r}", ""),
        ("${empty+r}", "r"),
        ("${a:?m}", "1"),
        ("${empty?m}", ""),
        ("${none:-}", ""),
        ("${none:-$a}", "1"),
        ("${none:-${empty:-${a}}}", "1"),
        ("${none:-'}'}", "}"),
        ("${none:-\\}}", "}"),
        ('"${none:-"x y"}"', "x y"),
        ("${none:-a b}", "a b"),
    ],
)
def test_process_word(word: str, expected: str) -> None:
    assert process_word(word, VARIABLES, "\\") == expected
    check_word(word, "\\")


def test_backquote_as_escape() -> None:
    assert process_word("C:\\x`$a", VARIABLES, "`") == "C:\\x$a"
    assert process_word('"`"\\"', VARIABLES, "`") == '"\\'


@pytest.mark.parametrize(
    "word", ["'", '"', "a'b", '"a\\"', "${", "${a", "${a:", "${a:-", "${none:-'}"]
)
def test_endless_word(word: str) -> None:
    with pytest.raises(WordError):
        process_word(word, VARIABLES, "\\")
    with pytest.raises(WordError):
        check_word(word, "\\")


@pytest.mark.parametrize("word", ["${}", "${:-x}", "${{a}}", "${ a}", "${a!b}", "${a:b}", "${a b}"])
def test_bad_substitution(word: str) -> None:
    with pytest.raises(WordError):
        check_word(word, "\\")


@pytest.mark.parametrize(
    "word", ["${a#x}", "${a##x}", "${a%x}", "${a%%x}", "${a/x/y}", "${a//x/y}"]
)
def test_patterns_are_not_yet_supported(word: str) -> None:
    with pytest.raises(UnsupportedSubstitutionError, match="not supported yet"):
        check_word(word, "\\")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${none:?}", "none: is not allowed to be unset"),
        ("${none?say so}", "none: say so"),
        ("${empty:?}", "empty: is not allowed to be empty"),
    ],
)
def test_required_variables(word: str, message: str) -> None:
    with pytest.raises(WordError) as caught:
        process_word(word, VARIABLES, "\\")
    assert caught.value.message == message
    check_word(word, "\\")


def test_depth_is_limited() -> None:
    check_word("${a:-" * 32 + "}" * 32, "\\")
    with pytest.raises(WordError, match="deep"):
        check_word("${a:-" * 100_000, "\\")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" a  b ", ["a", "b"]),
        ("a='b c' d", ["a='b c'", "d"]),
        ('a="b \\" c" d', ['a="b \\" c"', "d"]),
        ("a='b\\' c", ["a='b\\'", "c"]),
        ("a\\ b c", ["a\\ b", "c"]),
        ("''", ["''"]),
        ("a \\", ["a"]),
        ("'a b", ["'a b"]),
        ('"a \\', ['"a ']),
    ],
)
def test_split_words(text: str, expected: list[str]) -> None:
    assert split_words(text, "\\") == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$two", ["x", "y"]),
        ('"$two"', ["x y"]),
        ("$none", []),
        ("a\\ b", ["a b"]),
        ("${none:-1 2}", ["1", "2"]),
        ("p$two", ["px", "y"]),
    ],
)
def test_process_words_splits_after_replacing(word: str, expected: list[str]) -> None:
    assert process_words(word, VARIABLES, "\\") == expected
