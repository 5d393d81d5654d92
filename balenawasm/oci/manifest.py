"""Image manifests: one configuration and the layers, lowest first (OCI image spec, manifest.md)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from balenawasm.oci.descriptor import Descriptor
from balenawasm.oci.document import (
    InvalidDocumentError,
    canonical_json,
    parse_object,
    without_empty,
)
from balenawasm.oci.mediatypes import IMAGE_MANIFEST
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAXIMUM_LAYERS = 1000


class Manifest(NamedTuple):
    """The parts of one image; `layers[0]` is the lowest."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = MappingProxyType({})

    def to_json(self) -> bytes:
        """Return the canonical bytes."""
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE_MANIFEST,
                "config": self.config.to_members(),
                "layers": [layer.to_members() for layer in self.layers],
                **without_empty({"annotations": dict(self.annotations)}),
            }
        )

    @classmethod
    def from_json(cls, data: bytes, where: str = "manifest") -> Manifest:
        """Read a manifest; `where` names it in an InvalidDocumentError."""
        fields = parse_object(data, where)
        if fields.count("schemaVersion") != 2:
            raise fields.error("schemaVersion", "only version 2 is known")
        if fields.text("mediaType") not in ("", IMAGE_MANIFEST):
            raise fields.error("mediaType", "not an image manifest")
        layers = fields.objects("layers")
        if len(layers) > _MAXIMUM_LAYERS:
            raise InvalidDocumentError(f"{where}: more than {_MAXIMUM_LAYERS} layers")
        return cls(
            config=Descriptor.from_fields(fields.fields("config")),
            layers=tuple(Descriptor.from_fields(layer) for layer in layers),
            annotations=fields.text_map("annotations"),
        )
