"""Base images: built on demand from recipes, `<recipes>/NAME/Balenafile` for `balenaos/NAME`.

A recipe's image carries the label `io.balenawasm.recipe-digest`: the digest of the recipe's folder
(less what its .dockerignore leaves out), of the recipes it starts from and of its artifacts. It is
built again only when that is another one. Other names, and other tags than `latest`, must be in the
store.

Locks: `base-NAME.lock` in the build cache, so that of several builders one builds and the others
wait for it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.atomicfile import file_lock
from balenawasm.balenafile.instructions import Copy
from balenawasm.balenafile.resolve import plan_build
from balenawasm.balenafile.stages import read_balenafile
from balenawasm.build.artifact_contexts import artifact_name
from balenawasm.build.context import Context, content_digest
from balenawasm.build.filetree import select
from balenawasm.build.ignore import read_ignore_rules
from balenawasm.digest import Digest, sha256, sha256_file
from balenawasm.errors import BalenaWasmError
from balenawasm.oci.mediatypes import RECIPE_DIGEST_LABEL
from balenawasm.oci.reference import DEFAULT_TAG, Reference, parse_reference
from balenawasm.store.errors import ImageNotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from balenawasm.build.artifact_contexts import ArtifactContexts
    from balenawasm.store.images import Image
    from balenawasm.store.store import Store

NAMESPACE = "balenaos"
RECIPE_FILE = "Balenafile"


class RecipeError(BalenaWasmError):
    """A base image's recipe cannot be built."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A base image that can be built: its folder, and what to write in its label."""

    reference: Reference
    folder: Path
    digest: Digest


class BaseImages:
    """Finds images for FROM. `build` makes a recipe's image, labelled with its digest."""

    def __init__(
        self,
        store: Store,
        recipes: Path | None,
        locks: Path,
        build: Callable[[Recipe], Image],
        building: tuple[str, ...] = (),
        *,
        artifacts: ArtifactContexts,
    ) -> None:
        """`building` has the names of the recipes that are being built around this one."""
        self._artifacts = artifacts
        self._store = store
        self._recipes = recipes
        self._locks = locks
        self._build = build
        self._building = building

    def find(self, name: str) -> Image:
        """Return the image that FROM names, building it first if it has a recipe.

        Raises ImageNotFoundError, with near names, and whatever building a recipe raises.
        """
        reference = parse_reference(name)
        folder = self._folder(reference)
        if folder is None:
            return self._stored(reference)
        recipe = Recipe(reference, folder, self._digest(folder, ()))
        image = self._current(recipe)
        if image is not None:
            return image
        if reference.repository in self._building:
            raise RecipeError(
                f"the recipe of {reference.repository} starts from itself:"
                f" {' → '.join((*self._building, reference.repository))}"
            )
        with file_lock(self._locks / f"base-{folder.name}.lock"):
            return self._current(recipe) or self._build(recipe)

    def _folder(self, reference: Reference) -> Path | None:
        namespace, slash, name = reference.repository.partition("/")
        named_by_tag = reference.registry is None and reference.digest is None
        if self._recipes is None or not named_by_tag or reference.tag != DEFAULT_TAG:
            return None
        if namespace != NAMESPACE or not slash or "/" in name:
            return None
        folder = self._recipes / name
        return folder if (folder / RECIPE_FILE).is_file() else None

    def _current(self, recipe: Recipe) -> Image | None:
        try:
            image = self._store.images.get(recipe.reference)
        except StoreError:
            # Not there, or damaged: building it again mends both.
            return None
        if image.config.labels.get(RECIPE_DIGEST_LABEL) != recipe.digest:
            return None
        complete = all(self._store.blobs.has(layer.digest) for layer in image.manifest.layers)
        return image if complete else None

    def _digest(self, folder: Path, above: tuple[Path, ...]) -> Digest:
        """Return the digest of a recipe, and of the recipes and artifacts it is made from."""
        balenafile_path = folder / RECIPE_FILE
        context = Context(folder, read_ignore_rules(folder, balenafile_path))
        files = content_digest(select(context, "."))
        # The Balenafile counts by itself, because the ignore rules may leave it out of the context.
        parts = [sha256(f"{files}\n{sha256_file(balenafile_path)}".encode())]
        if folder in above:
            return parts[0]
        balenafile = read_balenafile(balenafile_path)
        for stage in plan_build(balenafile, build_args={}).stages:
            copies = [item for item in stage.stage.instructions if isinstance(item, Copy)]
            names = [stage.base.image] if stage.base_stage is None else []
            names += [item.from_stage for item in copies if item.from_stage is not None]
            for name in names:
                artifact = artifact_name(name)
                if artifact is not None:
                    parts.append(self._artifacts.digest(artifact))
                elif name not in stage.copied_stages and name != "scratch":
                    other = self._folder(parse_reference(name))
                    if other is not None:
                        parts.append(self._digest(other, (*above, folder)))
        return parts[0] if len(parts) == 1 else sha256("\n".join(parts).encode())

    def _stored(self, reference: Reference) -> Image:
        try:
            return self._store.images.get(reference)
        except ImageNotFoundError as error:
            hint = self._suggestion(reference) or error.hint
            raise ImageNotFoundError(error.message, hint=hint) from error

    def _suggestion(self, reference: Reference) -> str | None:
        """What could have been meant: our image for one of Docker's, or names like this one."""
        ours = self._recipe_names()
        namesake = f"{NAMESPACE}/{reference.repository.rpartition('/')[2]}:{DEFAULT_TAG}"
        if namesake in ours:
            other = not namesake.startswith(f"{reference.name}:")
            return f"did you mean {namesake}?" + (" Docker's images do not run here" * other)
        stored = [it for it in self._store.images.references() if it.digest is None]
        # Without tags: what is alike in ":latest" is no likeness.
        known = {it.name: str(it) for it in (*map(parse_reference, ours), *stored)}
        close = difflib.get_close_matches(reference.name, sorted(known), n=3, cutoff=0.6)
        return f"did you mean {' or '.join(known[name] for name in close)}?" if close else None

    def _recipe_names(self) -> list[str]:
        if self._recipes is None:
            return []
        return [
            f"{NAMESPACE}/{path.parent.name}:{DEFAULT_TAG}"
            for path in self._recipes.glob(f"*/{RECIPE_FILE}")
        ]
