"""What the steps of one build share: store, caches, context, reporter, open layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from balenawasm.build.artifact_contexts import NoArtifacts
from balenawasm.build.layered_tree import LayeredTree
from balenawasm.layer.image_layer import LayerImage, open_layer
from balenawasm.runtime.bundle import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from balenawasm.build.artifact_contexts import ArtifactContexts
    from balenawasm.build.cache import BuildCache
    from balenawasm.build.command_runner import CommandRunner
    from balenawasm.build.context import Context
    from balenawasm.build.npm_source import NpmDownloads
    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest
    from balenawasm.oci.config import ImageConfig
    from balenawasm.oci.descriptor import Descriptor
    from balenawasm.store.images import Image
    from balenawasm.store.store import Store


@dataclass(frozen=True, slots=True)
class BuiltStage:
    """A finished stage, or an image to start from: layers, lowest first, and the configuration."""

    layers: tuple[Descriptor, ...]
    config: ImageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What whoever builds grants commands: `network` for those without a flag of their own (one of
    `balenafile.instructions.NETWORK_MODES`), `allow` single destinations outside, and limits.
    """

    network: str = "default"
    allow: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS


@dataclass(slots=True, kw_only=True)
class Workbench:
    """The shared things. `scratch` is a private directory that goes when the build ends.

    `find_image` resolves a name in FROM or `COPY --from`; `latest` caps modification times (Unix
    seconds). `runner` runs the commands of RUN; `commands_follow`: the stage's current instruction
    or one after it is a RUN. `artifacts` are what `COPY --from=artifact:` finds.
    """

    reporter: Reporter
    store: Store
    cache: BuildCache
    downloads: NpmDownloads
    context: Context
    find_image: Callable[[str], Image]
    scratch: Path
    runner: CommandRunner
    artifacts: ArtifactContexts = field(default_factory=NoArtifacts)
    use_cache: bool = True
    latest: int | None = None
    run_settings: RunSettings = field(default_factory=RunSettings)
    commands_follow: bool = False
    _open: dict[Digest, LayerImage] = field(default_factory=dict)

    def tree(self, layers: Sequence[Descriptor], title: str) -> LayeredTree:
        """Return the merged file system of these layers; raises CorruptImageError."""
        images = [self._layer(layer.digest).image for layer in layers]
        return LayeredTree(title, images, self.scratch)

    def _layer(self, digest: Digest) -> LayerImage:
        if digest not in self._open:
            self._open[digest] = open_layer(self.store.blobs.path(digest))
        return self._open[digest]
