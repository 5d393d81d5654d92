"""Building an image from a Balenafile and a context: the one entry point of `balenawasm.build`.

The order of things: parse everything, build the stages the target needs, then name the image. What
is written on the way are whole, durable blobs and cache entries; an error or an interrupt at any
moment leaves the name as it was, and unfinished files are swept by the next build.

Lock order: the build cache's `lock` (shared), the store's `lock` (shared), `base-NAME.lock`, the
downloads' `lock`, the store's `index.lock`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.balenafile.resolve import BuildPlan, plan_build
from balenawasm.balenafile.stages import read_balenafile
from balenawasm.build.base_images import RECIPE_FILE, BaseImages, Recipe
from balenawasm.build.cache import BuildCache
from balenawasm.build.context import Context, ContextError
from balenawasm.build.events import (
    BuildDone,
    BuildStarted,
    Progress,
    StepDone,
    StepStarted,
    ignore_events,
)
from balenawasm.build.file_steps import StepResult
from balenawasm.build.ignore import read_ignore_rules
from balenawasm.build.npm_source import NpmDownloads
from balenawasm.build.stage import StageBuild, instruction_text
from balenawasm.build.workbench import BuiltStage, Workbench
from balenawasm.oci.mediatypes import RECIPE_DIGEST_LABEL
from balenawasm.oci.reference import Reference
from balenawasm.store.images import Image
from balenawasm.store.store import Store

BALENAFILE = "Balenafile"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build. `balenafile` None is the one in the context; `reference` None: no name.

    `source_date_epoch` (Unix seconds) caps modification times and, unless 0, is written as the
    creation time. `labels` are added to those of the Balenafile.
    """

    context: Path
    balenafile: Path | None = None
    reference: Reference | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    no_cache: bool = False
    source_date_epoch: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where images are built: the store, the caches, the recipes of base images.

    `environment` is what npm and pip run with (PATH, proxies, their configuration). `recipes` is
    usually `base_images.default_recipes()`; None means that every base image must be in the store.
    """

    store: Store
    build_cache: Path
    downloads: Path
    recipes: Path | None
    environment: Mapping[str, str]


def build_image(
    request: BuildRequest, workshop: Workshop, progress: Progress = ignore_events
) -> Image:
    """Build an image, store it and name it; returns it.

    Raises BalenafileError for what is wrong with the Balenafile or the files it names,
    and StoreError, NpmError, RecipeError, ContextError, CorruptImageError.
    """
    return _build(request, workshop, progress, ())


def _build(
    request: BuildRequest, workshop: Workshop, progress: Progress, building: tuple[str, ...]
) -> Image:
    started = time.monotonic()
    if not request.context.is_dir():
        raise ContextError(f"the build context {request.context} is not a directory")
    path = request.balenafile or request.context / BALENAFILE
    balenafile = read_balenafile(path, _shown_name(path, request.context))
    plan = plan_build(balenafile, target=request.target, build_args=request.build_args)
    context = Context(request.context, read_ignore_rules(request.context, path))
    name = str(request.reference or request.context.resolve().name)
    cache = BuildCache(workshop.build_cache, workshop.store.blobs)

    def build_recipe(recipe: Recipe) -> Image:
        names = (*building, recipe.reference.repository)
        return _build(_recipe_request(recipe), workshop, progress, names)

    bases = BaseImages(
        workshop.store, workshop.recipes, workshop.build_cache, build_recipe, building
    )
    workshop.store.sweep_unfinished()
    with (
        cache.in_use(),
        workshop.store.writing(),
        tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=workshop.build_cache) as scratch,
    ):
        bench = Workbench(
            name=name,
            store=workshop.store,
            cache=cache,
            downloads=NpmDownloads(workshop.downloads, workshop.environment),
            context=context,
            find_image=bases.find,
            scratch=Path(scratch),
            tell=progress,
            use_cache=not request.no_cache,
            latest=request.source_date_epoch,
        )
        built = _run_stages(plan, bench, request.build_args)
        config = replace(
            built.config,
            created=_created(request.source_date_epoch),
            labels={**built.config.labels, **request.labels},
        )
        image = workshop.store.images.put(request.reference, config, built.layers)
    progress(
        BuildDone(
            image=name,
            digest=image.digest,
            layers=len(built.layers),
            size=image.size,
            seconds=time.monotonic() - started,
        )
    )
    return image


def _run_stages(plan: BuildPlan, bench: Workbench, build_args: Mapping[str, str]) -> BuiltStage:
    """Build the planned stages in their order; returns the last one, the target."""
    total = sum(1 + len(resolved.stage.instructions) for resolved in plan.stages)
    bench.tell(BuildStarted(image=bench.name, total=total))
    for warning in plan.warnings:
        bench.warn(warning)
    finished: dict[int, BuiltStage] = {}
    number = 0
    for resolved in plan.stages:
        number += 1
        steps = _Steps(bench, resolved.name, total)
        steps.start(number, instruction_text(resolved.stage.base))
        stage = StageBuild(bench, resolved, finished, plan.global_values, build_args)
        steps.done(StepResult())
        for instruction in resolved.stage.instructions:
            number += 1
            steps.start(number, instruction_text(instruction))
            steps.done(stage.run(instruction))
        built = finished[resolved.stage.index] = stage.result()
    return built


class _Steps:
    """Tells about the steps of one stage."""

    def __init__(self, bench: Workbench, stage: str, total: int) -> None:
        self._bench = bench
        self._stage = stage
        self._total = total
        self._number = 0
        self._text = ""
        self._started = 0.0

    def start(self, number: int, text: str) -> None:
        """A step begins."""
        self._number, self._text, self._started = number, text, time.monotonic()
        self._bench.tell(
            StepStarted(
                image=self._bench.name,
                number=number,
                total=self._total,
                stage=self._stage,
                text=text,
            )
        )

    def done(self, result: StepResult) -> None:
        """The step that began last is done."""
        self._bench.tell(
            StepDone(
                image=self._bench.name,
                number=self._number,
                total=self._total,
                stage=self._stage,
                text=self._text,
                seconds=time.monotonic() - self._started,
                size=None if result.layer is None else result.layer.size,
                cached=result.cached,
            )
        )


def _recipe_request(recipe: Recipe) -> BuildRequest:
    """A recipe's files get the time 0 at the latest: the image is the same from every checkout."""
    return BuildRequest(
        context=recipe.folder,
        balenafile=recipe.folder / RECIPE_FILE,
        reference=recipe.reference,
        source_date_epoch=0,
        labels={RECIPE_DIGEST_LABEL: recipe.digest},
    )


def _shown_name(path: Path, context: Path) -> str:
    """Return how messages call the Balenafile: by its path as the user gave it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _created(epoch: int | None) -> str | None:
    if not epoch:
        return None
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
