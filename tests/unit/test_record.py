"""Records against `typing.NamedTuple`, whose contract they keep."""

from __future__ import annotations

import copy
import pickle
import typing
from typing import Any

import pytest

from balenawasm.record import NamedTuple


class Ours(NamedTuple):
    a: int
    b: str = "b"
    c: tuple[int, ...] = ()

    def method(self) -> str:
        return self.b


class Theirs(typing.NamedTuple):
    a: int
    b: str = "b"
    c: tuple[int, ...] = ()

    def method(self) -> str:
        return self.b


class Empty(NamedTuple):
    pass


class Below(Ours):
    __slots__ = ()


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, "x", (2,)), {}),
    ((1,), {"c": (3,)}),
    ((), {"c": (), "a": 5}),
    ((), {}),
    ((1, 2, 3, 4), {}),
    ((1,), {"a": 1}),
    ((1,), {"d": 1}),
    ((), {"b": "x"}),
]


@pytest.mark.parametrize(("values", "named"), CALLS)
def test_construction(values, named):
    def outcome(cls):
        try:
            made = cls(*values, **named)
        except TypeError:
            return TypeError
        return tuple(made), made.a, made.b, made.c, made.method(), repr(made)[len(cls.__name__) :]

    assert outcome(Ours) == outcome(Theirs)


def test_attributes_of_the_class():
    for name in ("_fields", "_field_defaults", "__match_args__"):
        assert getattr(Ours, name) == getattr(Theirs, name)
    assert typing.get_type_hints(Ours) == typing.get_type_hints(Theirs)


def test_it_is_a_tuple_without_room_for_more():
    record = Ours(1)
    assert record == (1, "b", ())
    assert hash(record) == hash((1, "b", ()))
    with pytest.raises(AttributeError):
        record.a = 2
    with pytest.raises(AttributeError):
        record.d = 2


def test_replace_and_make():
    assert Ours(1)._replace(b="x") == Ours(1, "x")
    assert Ours._make([1, "x", ()]) == Ours(1, "x")
    with pytest.raises(TypeError):
        Ours._make([1])
    with pytest.raises(TypeError):
        Ours(1)._replace(d=1)


def test_copies_and_patterns():
    record = Ours(1, "x", (2,))
    assert pickle.loads(pickle.dumps(record)) == copy.deepcopy(record) == record
    match record:
        case Ours(a, b=b):
            assert (a, b) == (1, "x")


def test_no_fields_and_inheritance():
    assert Empty() == ()
    assert Below(1, c=(2,)).c == (2,)
    assert repr(Below(1)) == "Below(a=1, b='b', c=())"
