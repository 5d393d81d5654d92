"""Media types and annotation names (OCI image spec 1.1, media-types.md and annotations.md).

Ours is the layer format: one uncompressed ext4 file system, see docs/formats/image.md.
"""

from __future__ import annotations

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"

EXT4_LAYER = "application/vnd.balenawasm.layer.v1.ext4"
LAYER_MEDIA_TYPE = EXT4_LAYER
"""The media type that new layers get."""

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation on a descriptor in an index: the image's name."""

ARCHITECTURE = "wasm"
OPERATING_SYSTEM = "wasip1"

PREOPENS_LABEL = "io.balenawasm.preopens"
"""Label on an image: directories that its programs are given beside `/` (see docs/python.md)."""

RECIPE_DIGEST_LABEL = "io.balenawasm.recipe-digest"
"""Label on a base image: the digest of the recipe folder it was built from."""
