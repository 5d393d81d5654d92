"""Names with values: `environment`, `env_file`, labels, build arguments.

Spec: compose specification, services, "environment", "env_file", "labels"; build, "args". Each is
a list of `NAME=value` or a mapping; a name without a value takes it from outside. What
`environment` says wins over `env_file`, and a later file over an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from balenawasm.compose.document import Item, one_or_many, present
from balenawasm.compose.dotenv import read_dotenv

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.compose.interpolate import Lookup
    from balenawasm.compose.warnings import Warnings

_ENV_FILE_KEYS = frozenset({"path", "required", "format"})


def read_pairs(item: Item) -> dict[str, str | None]:
    """Read a list of `NAME=value` and `NAME`, or a mapping; None: a name without a value."""
    pairs: dict[str, str | None] = {}
    if isinstance(item.value, tuple):
        for element in item.value:
            name, equals, value = element.text().partition("=")
            if not name:
                raise element.error("the name is empty", hint="an entry is NAME=value")
            pairs[name] = value if equals else None
        return pairs
    if not isinstance(item.value, Mapping):
        raise item.wrong_kind("a list or a mapping")
    for name, entry in item.value.items():
        if not name or "=" in name or "\0" in name:
            raise entry.error(f"{name!r} cannot be a name")
        pairs[name] = None if entry.is_null else entry.scalar_text()
    return pairs


def read_set_pairs(item: Item, lookup: Lookup) -> dict[str, str]:
    """Like :func:`read_pairs`; names without a value take it from outside, or fall away."""
    found = {}
    for name, value in read_pairs(item).items():
        taken = lookup(name) if value is None else value
        if taken is not None:
            found[name] = taken
    return found


def read_environment(
    fields: Mapping[str, Item], directory: Path, lookup: Lookup, warnings: Warnings
) -> dict[str, str]:
    """Read a service's `env_file` and `environment`; relative files count from `directory`.

    Raises ComposeError, also for a required file that cannot be read.
    """
    environment: dict[str, str] = {}
    files = present(fields, "env_file")
    if files is not None:
        for element in one_or_many(files):
            environment.update(_read_env_file(element, directory, lookup, warnings))
    own = present(fields, "environment")
    if own is not None:
        for name, value in read_pairs(own).items():
            taken = lookup(name) if value is None else value
            if taken is not None:
                environment[name] = taken
            # As in Docker, a name without any value also hides what env_file says.
            elif name in environment:
                del environment[name]
    return environment


def _read_env_file(
    item: Item, directory: Path, lookup: Lookup, warnings: Warnings
) -> dict[str, str]:
    required = True
    path_item = item
    if isinstance(item.value, Mapping):
        fields = item.value
        warnings.unknown_keys(fields, _ENV_FILE_KEYS)
        found = present(fields, "path")
        if found is None:
            raise item.error("the file has no path")
        path_item = found
        if (flag := present(fields, "required")) is not None:
            required = flag.boolean()
        if (form := present(fields, "format")) is not None:
            raise form.error("formats of env_file are not supported yet")
    name = path_item.text()
    try:
        return read_dotenv(directory / name, name, lookup)
    except FileNotFoundError:
        if not required:
            return {}
        raise path_item.error(
            f"there is no file {name}",
            hint="paths count from the project's directory; `required: false` lets it be missing",
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise path_item.error(f"cannot read {name}: {reason}") from error
