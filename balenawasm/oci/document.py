"""JSON documents of the OCI image spec: checked reading and canonical writing.

Documents come from outside, so a member of a wrong type is an InvalidDocumentError that says where
it stands, never a KeyError. Canonical bytes: docs/formats/image.md.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAXIMUM_SIZE = 4 << 20
"""The most bytes a document may have: the spec asks for at least 4 MiB to be accepted."""

Json: TypeAlias = "Mapping[str, Json] | list[Json] | str | int | bool | None"


class InvalidDocumentError(BalenaWasmError):
    """Bytes are not the OCI document they should be."""


def canonical_json(value: Json) -> bytes:
    """Return the one encoding that digests are made of: sorted, no white space, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def without_empty(members: Mapping[str, Json]) -> dict[str, Json]:
    """Return the members that hold something: None, "", [], {} and False are left out."""
    return {name: value for name, value in members.items() if value}


def parse_object(data: bytes, where: str) -> Fields:
    """Return the members of a document; `where` names it in errors (InvalidDocumentError)."""
    if len(data) > MAXIMUM_SIZE:
        raise InvalidDocumentError(f"{where}: larger than {MAXIMUM_SIZE} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidDocumentError(f"{where}: not a JSON document: {error}") from None
    if not isinstance(value, dict):
        raise InvalidDocumentError(f"{where}: not a JSON object")
    return Fields(value, where)


class Fields:
    """A JSON object whose members are read with their type checked.

    An absent member and `null` are the same: the empty value of the type where one is allowed.
    """

    def __init__(self, members: Mapping[str, object], where: str) -> None:
        self._members = members
        self._where = where

    def error(self, name: str, problem: str) -> InvalidDocumentError:
        """Return (not raise) the error that member `name` has this problem."""
        return InvalidDocumentError(f"{self._where}: {name}: {problem}")

    def has(self, name: str) -> bool:
        """Return whether a member is there and not null."""
        return self._members.get(name) is not None

    def text(self, name: str) -> str:
        """Return a string; "" when absent."""
        value = self._members.get(name)
        return "" if value is None else self._string(name, value)

    def required_text(self, name: str) -> str:
        """Return a string that must be there and not be empty."""
        value = self.text(name)
        if not value:
            raise self.error(name, "missing")
        return value

    def count(self, name: str) -> int:
        """Return an integer of at least 0 that must be there."""
        value = self._members.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(name, "not a number of at least 0")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean; False when absent."""
        value = self._members.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.error(name, "not true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of strings; empty when absent."""
        return tuple(self._string(name, item) for item in self._array(name))

    def text_map(self, name: str) -> dict[str, str]:
        """Return an object of strings; empty when absent."""
        return {
            self._string(name, key): self._string(f"{name}.{key}", value)
            for key, value in self._object(name).items()
        }

    def keys(self, name: str) -> tuple[str, ...]:
        """Return the sorted keys of an object, as ExposedPorts and Volumes use it for a set."""
        return tuple(sorted(self._string(name, key) for key in self._object(name)))

    def fields(self, name: str) -> Fields:
        """Return a member object; one without members when absent."""
        return Fields(self._object(name), f"{self._where}: {name}")

    def objects(self, name: str) -> list[Fields]:
        """Return an array of objects; empty when absent."""
        found: list[Fields] = []
        for index, item in enumerate(self._array(name)):
            if not isinstance(item, dict):
                raise self.error(f"{name}[{index}]", "not an object")
            found.append(Fields(item, f"{self._where}: {name}[{index}]"))
        return found

    def _array(self, name: str) -> list[object]:
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(name, "not an array")
        return value

    def _object(self, name: str) -> dict[str, object]:
        value = self._members.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(name, "not an object")
        return value

    def _string(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(name, "not a string")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.error(name, "holds half a surrogate pair") from None
        if "\0" in value:
            raise self.error(name, "holds a NUL character")
        return value
