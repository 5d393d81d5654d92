"""YAML → items: the only importer of `yaml`.

Read is the subset that compose files use, by the rules of YAML 1.2's core schema, as Docker's
parser does: `yes`, `on` and `22:22` are texts. Aliases and merge keys (`<<`) are followed. A
repeated key is refused: the first one would be lost without a word.

Limits (a file may come from a stranger): 1 MiB, 100,000 values after following aliases, 64
levels. Nothing is constructed but texts, numbers, truth values, lists and mappings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from balenawasm.compose.document import ComposeError, Item, Position, Scalar, child_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAXIMUM_BYTES = 1 << 20
_MAXIMUM_VALUES = 100_000
_MAXIMUM_DEPTH = 64

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_STRING = _TAG + "str"


class _Loader(yaml.SafeLoader):
    """SafeLoader with the implicit types of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _name, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z",
        list("-+.0123456789"),
    ),
    ("merge", r"<<\Z", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)


def read_document(path: Path, name: str) -> Item:
    """Read one compose file; messages call it `name`. The root is always a mapping.

    Raises ComposeError when the file is missing, unreadable, not UTF-8, not YAML, or breaks a
    limit.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAXIMUM_BYTES + 1)
    except OSError as error:
        raise ComposeError(f"cannot read {name}: {error.strerror}") from error
    if len(data) > _MAXIMUM_BYTES:
        raise ComposeError(f"the file is larger than {_MAXIMUM_BYTES >> 20} MiB", where=name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = Position(name, data.count(b"\n", 0, error.start) + 1)
        raise ComposeError("the text is not UTF-8", where=where) from error
    return parse_document(text, name)


def parse_document(text: str, name: str) -> Item:
    """Parse the text of a compose file; like :func:`read_document`."""
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = name if mark is None else Position(name, mark.line + 1)
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        hint = None
        if "'\\t'" in reason:
            hint = "YAML wants spaces for indentation, not tabs"
        raise ComposeError(f"not valid YAML: {reason}", where=where, hint=hint) from error
    except yaml.YAMLError as error:
        reason = str(error).partition("\n")[0]
        raise ComposeError(f"not valid YAML: {reason}", where=name) from error
    except RecursionError as error:
        raise ComposeError("the values nest too deep", where=name) from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(root, yaml.MappingNode):
        reason = "the file is empty" if root is None else "the file is not a mapping"
        raise ComposeError(reason, where=name, hint="it needs at least `services:`")
    return _Builder(name).build(root, "", Position(name, 1), 0)


class _Builder:
    """Turns YAML nodes into items and counts them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def build(self, node: yaml.Node, path: str, where: Position, depth: int) -> Item:
        self._count += 1
        if self._count > _MAXIMUM_VALUES:
            raise ComposeError(f"more than {_MAXIMUM_VALUES} values", where=where, path=path)
        if depth > _MAXIMUM_DEPTH:
            raise ComposeError(
                f"values nest more than {_MAXIMUM_DEPTH} deep", where=where, path=path
            )
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, "map", path, where)
            return Item(
                path,
                where,
                {
                    key: self.build(value, child_path(path, key), position, depth + 1)
                    for key, position, value in self._entries(node, path, depth)
                },
            )
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, "seq", path, where)
            elements = tuple(
                self.build(value, child_path(path, index), self._position(value), depth + 1)
                for index, value in enumerate(node.value)
            )
            return Item(path, where, elements)
        return Item(path, where, self._scalar(node, path, where))

    def _entries(
        self, node: yaml.MappingNode, path: str, depth: int
    ) -> Iterator[tuple[str, Position, yaml.Node]]:
        """Iterate over a mapping's entries; merged ones come last and lose against its own."""
        if depth > _MAXIMUM_DEPTH:
            raise ComposeError("merge keys nest too deep", where=self._position(node), path=path)
        seen: dict[str, Position] = {}
        merged: list[yaml.Node] = []
        for key_node, value in node.value:
            position = self._position(key_node)
            if key_node.tag == _MERGE:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            key = self._key(key_node, path, position)
            if key in seen:
                raise ComposeError(
                    f"the key stands twice, first in line {seen[key].line}",
                    where=position,
                    path=child_path(path, key),
                )
            seen[key] = position
            yield key, position, value
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                raise ComposeError(
                    "only mappings can be merged", where=self._position(source), path=path
                )
            for key, position, value in self._entries(source, path, depth + 1):
                self._count += 1
                if key not in seen:
                    seen[key] = position
                    yield key, position, value

    def _key(self, node: yaml.Node, path: str, position: Position) -> str:
        if isinstance(node, yaml.ScalarNode) and node.tag == _STRING:
            return str(node.value)
        shown = str(node.value)[:40] if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        raise ComposeError(
            f"the key {shown} is not a text",
            where=position,
            path=path,
            hint="put the key into quotes",
        )

    def _scalar(self, node: yaml.Node, path: str, where: Position) -> Scalar:
        text = str(node.value)
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" | "float" as kind:
                try:
                    return _integer(text) if kind == "int" else float(text)
                except ValueError:
                    pass
        self._check_tag(node, "str", path, where)
        raise AssertionError("unreachable: the tag is not str")

    def _check_tag(self, node: yaml.Node, kind: str, path: str, where: Position) -> None:
        if node.tag == _TAG + kind:
            return
        shown = node.tag.replace(_TAG, "!!")
        if shown in ("!reset", "!override"):
            raise ComposeError(f"{shown} is not supported yet", where=where, path=path)
        raise ComposeError(f"the value has the unknown type {shown}", where=where, path=path)

    def _position(self, node: yaml.Node) -> Position:
        return Position(self._name, node.start_mark.line + 1)


def _integer(text: str) -> int:
    """Read a decimal, octal (`0o7`, YAML 1.1's `07`) or hexadecimal number; else ValueError."""
    digits = text.lstrip("+-")
    if len(digits) > 64:
        raise ValueError(text)
    if digits.startswith(("0x", "0o")):
        return int(text, 0)
    if len(digits) > 1 and digits.startswith("0") and not set(digits) & {"8", "9"}:
        return int(text, 8)
    return int(text)
