"""The tables follow the compose specification, "Interpolation"."""

import pytest

from balenawasm.compose.interpolate import InterpolationError, interpolate

VARIABLES = {"A": "1", "EMPTY": "", "b_2": "x", "DOLLAR": "$A"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("plain } text {", "plain } text {"),
        ("$A", "1"),
        ("${A}", "1"),
        ("x$A.${b_2}y", "x1.xy"),
        ("$$A", "$A"),
        ("$$$$", "$$"),
        ("$$${A}", "$1"),
        ("$DOLLAR", "$A"),
        ("${A}}", "1}"),
        ("${NONE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NONE-d}", "d"),
        ("${A:-d}", "1"),
        ("${NONE:-}", ""),
        ("${NONE:-a-b:c?d+e}", "a-b:c?d+e"),
        ("${NONE:-$A}", "1"),
        ("${NONE:-${EMPTY:-${A}}!}", "1!"),
        ("${NONE:-$$A}", "$A"),
        ("${NONE:-{}}", "{}"),
        ("${A:+r}", "r"),
        ("${EMPTY:+r}", ""),
        ("${EMPTY+r}", "r"),
        ("${NONE+r}", ""),
        ("${A:?m}", "1"),
        ("${EMPTY?m}", ""),
        ("${A:-${NONE:?never asked}}", "1"),
    ],
)
def test_interpolate(template: str, expected: str) -> None:
    assert interpolate(template, VARIABLES.get) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("${NONE:?say so}", "the variable NONE is not set: say so"),
        ("${NONE?}", "the variable NONE is not set"),
        ("${EMPTY:?give $A}", "the variable EMPTY is empty: give 1"),
        ("${A:-${B}", "a '}' is missing"),
        ("${A", "a '}' is missing"),
        ("$", "'$' is not a variable"),
        ("a$ b", "'$ ' is not a variable"),
        ("$1", "'$1' is not a variable"),
        ("${}", "a variable has no name"),
        ("${1}", "a variable has no name"),
        ("${A b}", "'${A b}' is not a variable"),
        ("${A:b}", "'${A:b}' is not a variable"),
    ],
)
def test_mistakes(template: str, message: str) -> None:
    with pytest.raises(InterpolationError) as caught:
        interpolate(template, VARIABLES.get)
    assert caught.value.message == message
    assert caught.value.hint


def test_missing_variables_are_told_once_they_are_needed() -> None:
    missing: list[str] = []
    assert interpolate("$X${Y:-$Z}${W:+$V}$A$EMPTY", VARIABLES.get, missing.append) == "1"
    assert missing == ["X", "Z"]


def test_depth_is_limited() -> None:
    with pytest.raises(InterpolationError, match="deep"):
        interpolate("${A:-" * 100_000, VARIABLES.get)
