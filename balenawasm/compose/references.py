"""What refers to what in a project: dependencies, named volumes, published ports."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING

from balenawasm.compose.model import Condition, DependsOn, MountKind, NamedVolume, Service
from balenawasm.compose.pipes import check_pipes
from balenawasm.compose.ports import find_conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from balenawasm.compose.document import ComposeError, Item
    from balenawasm.compose.normalise import Draft
    from balenawasm.compose.warnings import Warnings


def check_references(
    drafts: Mapping[str, Draft], volumes: Mapping[str, NamedVolume], warnings: Warnings
) -> tuple[dict[str, Service], tuple[str, ...]]:
    """Return the services that are ours, without dependencies on Docker's, and a start order.

    Raises ComposeError for an unknown dependency or volume, a cycle, or a host port that two
    services publish.
    """
    services: dict[str, Service] = {}
    for name, draft in drafts.items():
        if draft.service is None:
            continue
        dependencies = tuple(_dependencies(draft, draft.service, drafts, warnings))
        services[name] = dataclasses.replace(draft.service, depends_on=dependencies)
        for mount in draft.service.volumes:
            if mount.kind is MountKind.NAMED and mount.source not in volumes:
                raise _entry(draft.item, "volumes").error(
                    f"the volume {mount.source} is not declared",
                    hint=f"declare it at the file's top level: `volumes: {{{mount.source}: }}`,"
                    f" or write ./{mount.source} for a directory",
                )
    check_pipes(services, drafts)
    conflict = find_conflict(
        (name, port) for name, service in services.items() for port in service.ports
    )
    if conflict is not None:
        first, second, port = conflict
        raise _entry(drafts[second].item, "ports").error(
            f"the port {port.host_port}/{port.protocol} of this machine is published by"
            f" {first} already"
            if first != second
            else f"the port {port.host_port}/{port.protocol} of this machine is published twice",
            hint="give one of them another port of this machine",
        )
    return services, _start_order(services, drafts)


def _dependencies(
    draft: Draft, service: Service, drafts: Mapping[str, Draft], warnings: Warnings
) -> Iterable[DependsOn]:
    item = _entry(draft.item, "depends_on")
    for dependency in service.depends_on:
        other = drafts.get(dependency.service)
        if other is None:
            if dependency.service in draft.optional_dependencies:
                continue
            close = difflib.get_close_matches(dependency.service, list(drafts), n=1)
            raise item.error(
                f"there is no service {dependency.service}",
                hint=f"did you mean {close[0]}?" if close else None,
            )
        if other.service is None:
            warnings.add_at(
                item, f"names {dependency.service}, which is Docker's: it is not waited for"
            )
            continue
        if dependency.condition is Condition.HEALTHY:
            warnings.add_at(
                item,
                f"waits until {dependency.service} is healthy, which is not supported yet:"
                " it counts as healthy as soon as it runs",
            )
        yield dependency


def _start_order(services: Mapping[str, Service], drafts: Mapping[str, Draft]) -> tuple[str, ...]:
    """Order services, dependencies first, else as in the file. Raises ComposeError for a cycle."""
    order: dict[str, None] = {}
    for start in services:
        # A walk down the dependencies; `walk` holds the open path, so meeting it again is a cycle.
        walk = {start: iter(services[start].depends_on)} if start not in order else {}
        while walk:
            name = next(reversed(walk))
            dependency = next(walk[name], None)
            if dependency is None:
                del walk[name]
                order[name] = None
            elif dependency.service in walk:
                raise _cycle(list(walk), dependency.service, drafts)
            elif dependency.service not in order:
                walk[dependency.service] = iter(services[dependency.service].depends_on)
    return tuple(order)


def _cycle(walk: list[str], again: str, drafts: Mapping[str, Draft]) -> ComposeError:
    circle = [*walk[walk.index(again) :], again]
    return _entry(drafts[walk[-1]].item, "depends_on").error(
        "services depend on each other in a circle: " + " → ".join(circle),
        hint="take one of these dependencies away",
    )


def _entry(item: Item, key: str) -> Item:
    """Return a service's entry, for its position."""
    return item.mapping().get(key, item)
