"""The tables follow Docker's documentation, "Syntax for environment variables in an env file"."""

from pathlib import Path

import pytest

from balenawasm.compose.document import ComposeError
from balenawasm.compose.dotenv import parse_dotenv, read_dotenv

OUTSIDE = {"OUT": "side", "B": "from outside"}


def parse(text: str) -> dict[str, str]:
    return parse_dotenv(text, ".env", OUTSIDE.get)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n # comment\n\t\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\r\nC=2\r\n", {"A": "1", "C": "2"}),
        ("A: 1\nC:2", {"A": "1", "C": "2"}),
        ("export A=1\nexport\tC=2", {"A": "1", "C": "2"}),
        ("  A  =  1  ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=\nC=1", {"A": "", "C": "1"}),
        ("A=1\nA=2", {"A": "2"}),
        ("a.b-c_1=x", {"a.b-c_1": "x"}),
        ("A=b=c:d", {"A": "b=c:d"}),
        ("A=b c", {"A": "b c"}),
        # comments
        ("A=b # c", {"A": "b"}),
        ("A=b# c", {"A": "b# c"}),
        ("A=#b", {"A": "#b"}),
        ("A= # b", {"A": ""}),
        ("A='b # c' # d", {"A": "b # c"}),
        ('A="b" # d', {"A": "b"}),
        # quotes
        ("A=''", {"A": ""}),
        ("A='$OUT \\n'", {"A": "$OUT \\n"}),
        ("A='Let\\'s go'", {"A": "Let's go"}),
        ('A="$OUT"', {"A": "side"}),
        ('A="\\$OUT"', {"A": "$OUT"}),
        ('A="a\\tb\\nc\\rd\\\\e\\"f\\x"', {"A": 'a\tb\nc\rd\\e"f\\x'}),
        ('A="one\ntwo"\nC=3', {"A": "one\ntwo", "C": "3"}),
        ("A='one\n# two'\nC=3", {"A": "one\n# two", "C": "3"}),
        ("A=b'c\"d", {"A": "b'c\"d"}),
        # variables
        ("A=$OUT${OUT}", {"A": "sideside"}),
        ("A=1\nC=$A", {"A": "1", "C": "1"}),
        ("C=$A\nA=1", {"C": "", "A": "1"}),
        ("B=here\nC=$B", {"B": "here", "C": "from outside"}),
        ("A=${NONE:-d}", {"A": "d"}),
        ("A=$$x", {"A": "$x"}),
        # values from outside
        ("OUT", {"OUT": "side"}),
        ("OUT # x\nNONE\nA=1", {"OUT": "side", "A": "1"}),
    ],
)
def test_parse(text: str, expected: dict[str, str]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n\n=2", ".env:3: not a variable"),
        ("A B=1", ".env:1: not a variable"),
        ("A B", ".env:1: not a variable"),
        ("A=1\nC='x", ".env:2: the ' has no end"),
        ('A="x\n\n', '.env:1: the " has no end'),
        ("A='x' y", ".env:1: there is text behind the value"),
        ("A=1\nC=a$ b", ".env:2: '$ ' is not a variable"),
        ("A=1\nC=${X:?no X}", ".env:2: the variable X is not set: no X"),
        ("A=1\nC=\0", ".env:2: the text has a NUL character"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        parse(text)
    assert caught.value.message == message


def test_reading_files(tmp_path: Path) -> None:
    path = tmp_path / "vars"
    with pytest.raises(FileNotFoundError):
        read_dotenv(path, "vars", OUTSIDE.get)
    path.write_bytes(b"\xef\xbb\xbfA=\xc3\xa9")
    assert read_dotenv(path, "vars", OUTSIDE.get) == {"A": "é"}
    path.write_bytes(b"A=1\nB=\xff")
    with pytest.raises(ComposeError, match="vars:2: the text is not UTF-8"):
        read_dotenv(path, "vars", OUTSIDE.get)
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ComposeError, match="larger than 1 MiB"):
        read_dotenv(path, "vars", OUTSIDE.get)
