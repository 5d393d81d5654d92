"""The OCI image layout: the names and the two documents of its top folder (image-layout.md).

Pure format, no I/O: `balenawasm.store` reads, locks and replaces the files.
"""

from __future__ import annotations

from balenawasm.oci.descriptor import Descriptor
from balenawasm.oci.document import InvalidDocumentError, canonical_json, parse_object
from balenawasm.oci.mediatypes import IMAGE_INDEX, REF_NAME
from balenawasm.record import NamedTuple

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
BLOBS_FOLDER = "blobs/sha256"
LAYOUT_VERSION = "1.0.0"


class UnknownLayoutError(InvalidDocumentError):
    """A layout's version is not one that this program may write to."""


def layout_json() -> bytes:
    """Return the content of a new `oci-layout` file."""
    return canonical_json({"imageLayoutVersion": LAYOUT_VERSION})


def check_layout(data: bytes, where: str) -> None:
    """Raise UnknownLayoutError unless this `oci-layout` content names the version we know."""
    version = parse_object(data, where).text("imageLayoutVersion")
    if version != LAYOUT_VERSION:
        raise UnknownLayoutError(
            f"{where}: unknown image layout version {version!r}",
            hint=f"only version {LAYOUT_VERSION} is known; a newer program may have made the store",
        )


class Index(NamedTuple):
    """`index.json`: descriptors of manifests, with their names as annotations or nameless."""

    manifests: tuple[Descriptor, ...] = ()

    def to_json(self) -> bytes:
        """Return the canonical bytes."""
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE_INDEX,
                "manifests": [descriptor.to_members() for descriptor in self.manifests],
            }
        )

    @classmethod
    def from_json(cls, data: bytes, where: str = INDEX_FILE) -> Index:
        """Read an index; `where` names it in an InvalidDocumentError."""
        fields = parse_object(data, where)
        if fields.count("schemaVersion") != 2:
            raise fields.error("schemaVersion", "only version 2 is known")
        return cls(tuple(Descriptor.from_fields(item) for item in fields.objects("manifests")))

    def find(self, name: str) -> Descriptor | None:
        """Return the descriptor with this name."""
        return next((item for item in self.manifests if ref_name(item) == name), None)

    def with_image(self, name: str | None, descriptor: Descriptor) -> Index:
        """Return an index in which `name` means `descriptor` and nothing else.

        Without a name the image is listed nameless, once, and only if no name leads to it yet.
        """
        if name is None and any(item.digest == descriptor.digest for item in self.manifests):
            return self
        annotations = {} if name is None else {REF_NAME: name}
        kept = [
            item
            for item in self.manifests
            if (ref_name(item), item.digest) != (None, descriptor.digest)
            and (name is None or ref_name(item) != name)
        ]
        added = descriptor._replace(annotations=annotations)
        return Index(tuple(sorted([*kept, added], key=_order)))

    def without(self, entry: Descriptor) -> Index:
        """Return an index without that entry of this one."""
        return Index(tuple(item for item in self.manifests if item != entry))


def ref_name(descriptor: Descriptor) -> str | None:
    """Return the name that an index gives to a descriptor."""
    return descriptor.annotations.get(REF_NAME)


def _order(descriptor: Descriptor) -> tuple[str, str]:
    return ref_name(descriptor) or "", descriptor.digest
