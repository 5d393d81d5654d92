"""Content descriptors: what a blob is, which one and how long (OCI image spec, descriptor.md)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from balenawasm.digest import Digest, InvalidDigestError, parse_digest
from balenawasm.oci.document import Fields, Json, without_empty
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Descriptor(NamedTuple):
    """A typed, sized pointer to a blob; `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = MappingProxyType({})

    def to_members(self) -> dict[str, Json]:
        """Return the members of the JSON object."""
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
            **without_empty({"annotations": dict(self.annotations)}),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Descriptor:
        """Read a descriptor; raises InvalidDocumentError."""
        try:
            digest = parse_digest(fields.required_text("digest"))
        except InvalidDigestError as error:
            raise fields.error("digest", error.message) from None
        return cls(
            media_type=fields.required_text("mediaType"),
            digest=digest,
            size=fields.count("size"),
            annotations=fields.text_map("annotations"),
        )
