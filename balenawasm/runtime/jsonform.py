"""The strict JSON form of our plain data: bundles, target states and control messages share it.

A named tuple is an object with the fields' names as keys; any other tuple is an
array; an enum is its value; bytes, which guests' arguments and names are, become a string in UTF-8
with lone surrogates for what is no UTF-8 (Python's `surrogateescape`), so that any bytes survive
the round trip. Reading refuses unknown keys, missing keys without a default, and wrong types, and
names the place (`mounts[2].target`). Only the annotations that :func:`_reader` knows are possible.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from balenawasm.errors import BalenaWasmError

T = TypeVar("T")
Reader = Callable[[object, str], Any]


class FormError(BalenaWasmError):
    """A JSON document does not have the form that was asked for."""


def to_json(value: object) -> object:
    """Return what `json.dumps` takes for a record or a value that may be in one."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    cls: Any = type(value)
    if _is_record(cls):
        return {name: to_json(getattr(value, name)) for name in cls._fields}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    raise TypeError(f"no JSON form for {type(value).__name__}")


def from_json(cls: type[T], data: object, where: str = "") -> T:
    """Build a `cls` from parsed JSON; FormError names the place below `where` that is wrong."""
    annotation: Any = cls
    return typing.cast(T, _reader(annotation)(data, where))


def encode(value: object) -> bytes:
    """Return one line of JSON in ASCII, without a newline."""
    return dump(to_json(value))


def dump(document: object) -> bytes:
    """Return what :func:`to_json` made as one line of JSON in ASCII, without a newline."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def decode(cls: type[T], data: bytes, where: str = "") -> T:
    """Parse JSON text into a `cls`; raises FormError."""
    return from_json(cls, parse(data, where), where)


def parse(data: bytes, where: str = "") -> object:
    """Parse JSON text whose origin is `where`; raises FormError, also when it nests too deeply."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormError(f"{where or 'message'}: not JSON: {error}") from error


def _is_record(annotation: Any) -> bool:  # noqa: ANN401 - an annotation is any object
    return hasattr(annotation, "_field_defaults")


@cache
def _reader(annotation: Any) -> Reader:  # noqa: ANN401 - an annotation is any object
    """Return the function that checks and converts JSON for one annotation."""
    if annotation in (str, int, bool, float):
        return _scalar_reader(annotation)
    if annotation is bytes:
        return _read_bytes
    if _is_record(annotation):
        return _record_reader(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _enum_reader(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _tuple_reader(_reader(arguments[0]))
    if origin in (types.UnionType, typing.Union) and type(None) in arguments:
        (inner,) = (item for item in arguments if item is not type(None))
        return _optional_reader(_reader(inner))
    raise TypeError(f"no JSON form for {annotation!r}")


def _scalar_reader(expected: type[Any]) -> Reader:
    accepted = (int, float) if expected is float else (expected,)

    def read(data: object, where: str) -> object:
        # bool is a subclass of int, but `true` is no number.
        if not isinstance(data, accepted) or (isinstance(data, bool) and expected is not bool):
            raise _wrong(where, expected.__name__, data)
        return data

    return read


def _read_bytes(data: object, where: str) -> bytes:
    if not isinstance(data, str):
        raise _wrong(where, "string", data)
    try:
        return data.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise FormError(f"{where}: a lone surrogate that stands for no byte") from error


def _enum_reader(enum: type[Enum]) -> Reader:
    def read(data: object, where: str) -> Enum:
        try:
            return enum(data)
        except ValueError:
            known = ", ".join(str(item.value) for item in enum)
            raise FormError(f"{where}: {data!r} is none of {known}") from None

    return read


def _tuple_reader(item: Reader) -> Reader:
    def read(data: object, where: str) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise _wrong(where, "array", data)
        return tuple(item(value, f"{where}[{index}]") for index, value in enumerate(data))

    return read


def _optional_reader(inner: Reader) -> Reader:
    def read(data: object, where: str) -> object:
        return None if data is None else inner(data, where)

    return read


def _record_reader(cls: Any) -> Reader:  # noqa: ANN401
    hints = typing.get_type_hints(cls)
    readers = {name: _reader(hints[name]) for name in cls._fields}
    required = frozenset(cls._fields) - cls._field_defaults.keys()

    def read(data: object, where: str) -> object:
        if not isinstance(data, dict):
            raise _wrong(where, "object", data)
        if missing := required - data.keys():
            raise FormError(f"{where or cls.__name__}: missing {', '.join(sorted(missing))}")
        values = {}
        for name, value in data.items():
            place = f"{where}.{name}" if where else str(name)
            if name not in readers:
                raise FormError(f"{place}: unknown key")
            values[name] = readers[name](value, place)
        return cls(**values)

    return read


def _wrong(where: str, expected: str, data: object) -> FormError:
    return FormError(f"{where or 'document'}: expected {expected}, found {type(data).__name__}")
