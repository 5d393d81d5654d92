"""Image references, `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` (grammar of the OCI distribution spec).

Deviations: names are matched without regard to case (`BalenaOS/python` is `balenaos/python`), and
no registry is assumed where none is written.
"""

from __future__ import annotations

import re

from balenawasm.digest import Digest, InvalidDigestError, parse_digest
from balenawasm.errors import UsageError
from balenawasm.record import NamedTuple

DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_REGISTRY = re.compile(r"(?:[a-z0-9][a-z0-9.-]*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_MAXIMUM_NAME = 255


class InvalidReferenceError(UsageError):
    """A string is not an image reference."""


class Reference(NamedTuple):
    """A parsed reference; `tag` is None only when the digest alone says which image is meant."""

    registry: str | None
    repository: str
    tag: str | None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Return the reference that `text` spells; raises InvalidReferenceError."""
    rest, at, digest_text = text.partition("@")
    digest = _parse_digest(text, digest_text) if at else None
    tag: str | None = None
    before, colon, after = rest.rpartition(":")
    # A colon before the last slash belongs to a registry's port.
    if colon and "/" not in after:
        rest, tag = before, after
        if not _TAG.match(tag):
            raise InvalidReferenceError(
                f"not an image reference: {text!r}: {tag!r} is not a tag",
                hint="a tag has up to 128 letters, digits, `_`, `.` and `-`",
            )
    if tag is None and digest is None:
        tag = DEFAULT_TAG
    registry, repository = _split_name(rest.lower())
    valid = _REPOSITORY.match(repository) and (registry is None or _REGISTRY.match(registry))
    if not valid or len(rest) > _MAXIMUM_NAME:
        raise InvalidReferenceError(
            f"not an image reference: {text!r}",
            hint="write NAME, NAME:TAG or FOLDER/NAME:TAG with letters, digits, `.`, `_` and `-`",
        )
    return Reference(registry, repository, tag, digest)


def _split_name(name: str) -> tuple[str | None, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return None, name


def _parse_digest(text: str, digest_text: str) -> Digest:
    try:
        return parse_digest(digest_text)
    except InvalidDigestError as error:
        raise InvalidReferenceError(f"not an image reference: {text!r}: {error.message}") from None
