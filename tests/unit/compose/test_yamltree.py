from pathlib import Path

import pytest

from balenawasm.compose.document import ComposeError, Value
from balenawasm.compose.yamltree import parse_document, read_document


def plain(text: str) -> Value:
    return parse_document(text, "c.yml").plain()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("text", "text"),
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("off", "off"),
        ("no", "no"),
        ("22:22", "22:22"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("12", 12),
        ("-12", -12),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("089", 89),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("'<<'", "<<"),
        ("[a, 1]", ("a", 1)),
        ("{b: {c: 1}}", {"b": {"c": 1}}),
        ("|\n  x\n  y", "x\ny\n"),
    ],
)
def test_values(written: str, expected: Value) -> None:
    value = plain(f"a: {written}\n")
    assert isinstance(value, dict)
    assert value == {"a": expected}
    assert type(value["a"]) is type(expected)


def test_aliases_and_merge_keys() -> None:
    text = """\
x-one: &one {a: 1, b: 1}
x-two: &two {b: 2, c: 2}
x: *one
y: {<<: *one, b: own}
z: {d: own, <<: [*one, *two]}
w: {<<: {<<: *two, e: 3}}
"""
    value = plain(text)
    assert isinstance(value, dict)
    assert value["x"] == {"a": 1, "b": 1}
    assert value["y"] == {"a": 1, "b": "own"}
    assert value["z"] == {"a": 1, "b": 1, "c": 2, "d": "own"}
    assert value["w"] == {"b": 2, "c": 2, "e": 3}


def test_items_know_path_and_line() -> None:
    root = parse_document("a:\n  b:\n    - c: 1\n    - d\n", "c.yml")
    b = root.mapping()["a"].mapping()["b"]
    assert (b.path, str(b.where)) == ("a.b", "c.yml:2")
    first, second = b.sequence()
    assert (first.mapping()["c"].path, first.mapping()["c"].where.line) == ("a.b[0].c", 3)
    assert (second.path, second.where.line) == ("a.b[1]", 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.yml: the file is empty"),
        ("# x", "c.yml: the file is empty"),
        ("- a", "c.yml: the file is not a mapping"),
        ("a: 1\n\nb: 2\na: 3", "c.yml:4: a: the key stands twice, first in line 1"),
        ("s:\n  a: 1\n  a: 3", "c.yml:3: s.a: the key stands twice, first in line 2"),
        ("1: x", "c.yml:1: the key 1 is not a text"),
        ("a: {true: x}", "c.yml:1: a: the key true is not a text"),
        ("[a]: x", "c.yml:1: the key a list or mapping is not a text"),
        ("a: !x 1", "c.yml:1: a: the value has the unknown type !x"),
        (
            "a: !!python/object:x.y {}",
            "c.yml:1: a: the value has the unknown type !!python/object:x.y",
        ),
        ("a: !reset []", "c.yml:1: a: !reset is not supported yet"),
        ("a: !!int x", "c.yml:1: a: the value has the unknown type !!int"),
        ("a: {<<: 1}", "c.yml:1: a: only mappings can be merged"),
    ],
)
def test_refused_documents(text: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        parse_document(text, "c.yml")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("a: [\nb", r"^c\.yml:2: not valid YAML: "),
        ("a:\n\tb: 1", r"^c\.yml:2: not valid YAML: "),
        ("a: *b", r"^c\.yml:1: not valid YAML: .*alias"),
        ("a: 1\n---\nb: 2", r"^c\.yml:2: not valid YAML: .*document"),
        ("a: \x01", r"^c\.yml: not valid YAML: "),
        ("a: &a [*a]", "deep"),
        ("a: &a {<<: *a}", "deep"),
        ("a: " + "[" * 200 + "]" * 200, "deep"),
        ("a: " + "[" * 5000, "deep"),
    ],
)
def test_refused_yaml(text: str, pattern: str) -> None:
    with pytest.raises(ComposeError, match=pattern):
        parse_document(text, "c.yml")


def test_aliases_cannot_grow_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(ComposeError, match="more than 100000 values"):
        parse_document("\n".join(lines), "c.yml")
    lines = ["m0: &m0 {a: 1}"]
    lines += [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 10)}]}}" for i in range(1, 9)]
    with pytest.raises(ComposeError, match="more than 100000 values"):
        parse_document("\n".join(lines), "c.yml")


def test_reading_files(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    with pytest.raises(ComposeError, match=r"cannot read c\.yml: No such file"):
        read_document(path, "c.yml")
    path.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(ComposeError, match=r"c\.yml:2: the text is not UTF-8"):
        read_document(path, "c.yml")
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ComposeError, match=r"c\.yml: the file is larger than 1 MiB"):
        read_document(path, "c.yml")
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_document(path, "c.yml").plain() == {"a": 1}
