"""Building an image from a Balenafile and a context: the one entry point of `balenawasm.build`.

The order of things: parse everything, build the stages the target needs, then name the image. What
is written on the way are whole, durable blobs and cache entries; an error or an interrupt at any
moment leaves the name as it was, and unfinished files are swept by the next build.

Lock order: the build cache's `lock` (shared), the store's `lock` (shared), `base-NAME.lock`, the
downloads' `lock`, the store's `index.lock`.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.balenafile.instructions import Run
from balenawasm.balenafile.resolve import BuildPlan, plan_build
from balenawasm.balenafile.stages import read_balenafile
from balenawasm.build.artifact_contexts import NoArtifacts
from balenawasm.build.base_images import RECIPE_FILE, BaseImages, Recipe
from balenawasm.build.cache import BuildCache
from balenawasm.build.command_runner import CommandRunner
from balenawasm.build.context import Context, ContextError
from balenawasm.build.events import Progress, ignore_events
from balenawasm.build.ignore import read_ignore_rules
from balenawasm.build.npm_source import NpmDownloads
from balenawasm.build.reporter import Reporter
from balenawasm.build.stage import StageBuild, instruction_text
from balenawasm.build.workbench import BuiltStage, RunSettings, Workbench
from balenawasm.oci.mediatypes import RECIPE_DIGEST_LABEL
from balenawasm.runtime.recipes import default_recipes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.build.artifact_contexts import ArtifactContexts
    from balenawasm.oci.reference import Reference
    from balenawasm.runtime.home import Home
    from balenawasm.store.images import Image
    from balenawasm.store.store import Store

BALENAFILE = "Balenafile"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build. `balenafile` None is the one in the context; `reference` None: no name.

    `source_date_epoch` (Unix seconds) caps modification times and, unless 0, is written as the
    creation time. `labels` are added to those of the Balenafile. `run_settings` are for RUN.
    """

    context: Path
    balenafile: Path | None = None
    reference: Reference | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    no_cache: bool = False
    source_date_epoch: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    run_settings: RunSettings = field(default_factory=RunSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where images are built: the store, the caches, the recipes of base images.

    `environment` is what npm and pip run with (PATH, proxies, their configuration). `recipes` is
    usually `default_recipes()`; None means that every base image must be in the store. `home` is
    where the commands of RUN have their containers; without it there can be none. `artifacts` are
    what `COPY --from=artifact:` finds.
    """

    store: Store
    build_cache: Path
    downloads: Path
    recipes: Path | None
    environment: Mapping[str, str]
    home: Home | None = None
    artifacts: ArtifactContexts = field(default_factory=NoArtifacts)

    @classmethod
    def in_home(
        cls,
        home: Home,
        store: Store,
        environment: Mapping[str, str],
        artifacts: ArtifactContexts | None = None,
    ) -> Self:
        """Return the usual workshop: the caches of a state directory, the recipes shipped here."""
        return cls(
            store=store,
            build_cache=home.build_cache,
            downloads=home.downloads,
            recipes=default_recipes(),
            environment=environment,
            home=home,
            artifacts=artifacts or NoArtifacts(),
        )


def build_image(
    request: BuildRequest, workshop: Workshop, progress: Progress = ignore_events
) -> Image:
    """Build an image, store it and name it; returns it.

    Raises BalenafileError for what is wrong with the Balenafile or the files it names,
    and StoreError, NpmError, RecipeError, ContextError, CorruptImageError.
    """
    with contextlib.closing(CommandRunner(workshop.home)) as runner:
        return _build(request, workshop, progress, (), runner)


def find_image(name: str, workshop: Workshop, progress: Progress = ignore_events) -> Image:
    """Return the image of that name; a base image is built when missing or its recipe has changed.

    Raises InvalidReferenceError, ImageNotFoundError and what building the recipe raises.
    """
    with contextlib.closing(CommandRunner(workshop.home)) as runner:
        return _base_images(workshop, progress, (), runner).find(name)


def _base_images(
    workshop: Workshop, progress: Progress, building: tuple[str, ...], runner: CommandRunner
) -> BaseImages:
    def build_recipe(recipe: Recipe) -> Image:
        names = (*building, recipe.reference.repository)
        return _build(_recipe_request(recipe), workshop, progress, names, runner)

    return BaseImages(
        workshop.store,
        workshop.recipes,
        workshop.build_cache,
        build_recipe,
        building,
        artifacts=workshop.artifacts,
    )


def _build(
    request: BuildRequest,
    workshop: Workshop,
    progress: Progress,
    building: tuple[str, ...],
    runner: CommandRunner,
) -> Image:
    if not request.context.is_dir():
        raise ContextError(f"the build context {request.context} is not a directory")
    path = request.balenafile or request.context / BALENAFILE
    balenafile = read_balenafile(path, _shown_name(path, request.context))
    plan = plan_build(balenafile, target=request.target, build_args=request.build_args)
    context = Context(request.context, read_ignore_rules(request.context, path))
    reporter = Reporter(str(request.reference or request.context.resolve().name), progress)
    cache = BuildCache(workshop.build_cache, workshop.store.blobs)
    bases = _base_images(workshop, progress, building, runner)
    workshop.store.sweep_unfinished()
    with (
        cache.in_use(),
        workshop.store.writing(),
        tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=workshop.build_cache) as scratch,
    ):
        bench = Workbench(
            reporter=reporter,
            store=workshop.store,
            cache=cache,
            downloads=NpmDownloads(workshop.downloads, workshop.environment, reporter),
            context=context,
            find_image=bases.find,
            scratch=Path(scratch),
            use_cache=not request.no_cache,
            latest=request.source_date_epoch,
            runner=runner,
            artifacts=workshop.artifacts,
            run_settings=request.run_settings,
        )
        built = _run_stages(plan, bench, request.build_args)
        config = built.config._replace(
            created=_created(request.source_date_epoch),
            labels={**built.config.labels, **request.labels},
        )
        image = workshop.store.images.put(request.reference, config, built.layers)
    reporter.end_build(image)
    return image


def _run_stages(plan: BuildPlan, bench: Workbench, build_args: Mapping[str, str]) -> BuiltStage:
    """Build the planned stages in their order; returns the last one, the target."""
    reporter = bench.reporter
    reporter.begin_build(sum(1 + len(resolved.stage.instructions) for resolved in plan.stages))
    for warning in plan.warnings:
        reporter.warn(warning)
    finished: dict[int, BuiltStage] = {}
    for resolved in plan.stages:
        reporter.begin_step(resolved.name, instruction_text(resolved.stage.base))
        stage = StageBuild(bench, resolved, finished, plan.global_values, build_args)
        reporter.end_step()
        runs = [isinstance(it, Run) for it in resolved.stage.instructions]
        for number, instruction in enumerate(resolved.stage.instructions):
            reporter.begin_step(resolved.name, instruction_text(instruction))
            bench.commands_follow = any(runs[number:])
            result = stage.run(instruction)
            size = None if result.layer is None else result.layer.size
            reporter.end_step(size, cached=result.cached)
        built = finished[resolved.stage.index] = stage.result()
    return built


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
