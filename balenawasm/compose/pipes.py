"""Pipes between services: each has one writer and one reader, and they run in no circle."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from balenawasm.compose.warnings import EXTENSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.compose.document import Item
    from balenawasm.compose.model import Service
    from balenawasm.compose.normalise import Draft


def check_pipes(services: Mapping[str, Service], drafts: Mapping[str, Draft]) -> None:
    """Raise ComposeError for a pipe from a service that is not there, for two readers of one, and
    for a circle.
    """
    readers: dict[str, str] = {}
    for name, service in services.items():
        writer = service.stdin_from
        if writer is None:
            continue
        item = _entry(drafts[name])
        if writer not in drafts:
            close = difflib.get_close_matches(writer, list(drafts), n=1)
            raise item.error(
                f"there is no service {writer}", hint=f"did you mean {close[0]}?" if close else None
            )
        if writer not in services:
            raise item.error(
                f"the service {writer} is Docker's: its output cannot be piped",
                hint="a pipe joins services that balenawasm runs",
            )
        other = readers.setdefault(writer, name)
        if other != name:
            raise item.error(
                f"{other} reads the output of {writer} already, and a pipe has one reader",
                hint="pipe it to a service that sends copies on, for instance over the network",
            )
    for name in services:
        _check_no_circle(name, services, drafts)


def _check_no_circle(
    start: str, services: Mapping[str, Service], drafts: Mapping[str, Draft]
) -> None:
    way = [start]
    while (writer := services[way[-1]].stdin_from) is not None:
        if writer in way:
            circle = [writer, *reversed(way[way.index(writer) :])]
            raise _entry(drafts[start]).error(
                "services feed each other in a circle: " + " | ".join(circle),
                hint="the first one of a pipeline has no `stdin`",
            )
        way.append(writer)


def _entry(draft: Draft) -> Item:
    return draft.item.mapping()[EXTENSION].mapping()["stdin"]
