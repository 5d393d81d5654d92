"""What the steps of one build share: store, caches, context, open layers, the listener."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from balenawasm.build.cache import BuildCache
from balenawasm.build.context import Context
from balenawasm.build.events import BuildEvent, BuildWarning, FetchStarted
from balenawasm.build.layered_tree import LayeredTree
from balenawasm.build.npm_source import NpmDownloads
from balenawasm.digest import Digest
from balenawasm.layer.image_layer import LayerImage, open_layer
from balenawasm.oci.config import ImageConfig
from balenawasm.oci.descriptor import Descriptor
from balenawasm.store.images import Image
from balenawasm.store.store import Store


@dataclass(frozen=True, slots=True)
class BuiltStage:
    """A finished stage, or an image to start from: layers, lowest first, and the configuration."""

    layers: tuple[Descriptor, ...]
    config: ImageConfig


@dataclass(slots=True, kw_only=True)
class Workbench:
    """The shared things. `scratch` is a private directory that goes when the build ends.

    `find_image` resolves a name in FROM or `COPY --from`; `latest` caps modification times (Unix
    seconds); `name` is what events call the image.
    """

    name: str
    store: Store
    cache: BuildCache
    downloads: NpmDownloads
    context: Context
    find_image: Callable[[str], Image]
    scratch: Path
    tell: Callable[[BuildEvent], None]
    use_cache: bool = True
    latest: int | None = None
    _open: dict[Digest, LayerImage] = field(default_factory=dict)

    def tree(self, layers: Sequence[Descriptor], title: str) -> LayeredTree:
        """Return the merged file system of these layers; raises CorruptImageError."""
        images = [self._layer(layer.digest).image for layer in layers]
        return LayeredTree(title, images, self.scratch)

    def warn(self, message: str, hint: str | None = None) -> None:
        """Tell the listener about something doubtful."""
        self.tell(BuildWarning(image=self.name, message=message, hint=hint))

    def announce_fetch(self, what: str) -> None:
        """Tell the listener that a download begins."""
        self.tell(FetchStarted(image=self.name, what=what))

    def _layer(self, digest: Digest) -> LayerImage:
        if digest not in self._open:
            self._open[digest] = open_layer(self.store.blobs.path(digest))
        return self._open[digest]
