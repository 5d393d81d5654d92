"""Which stages a build needs, in which order, and where each begins.

Spec: Dockerfile reference, "Understand how ARG and FROM interact"; "Multi-stage builds": a stage
that the target does not need is not built. A stage can only refer to stages above it, so the
order of the file is an order to build in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.balenafile.expand import PREDEFINED_ARGS, expand
from balenawasm.balenafile.instructions import Arg, Copy, From

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.balenafile.stages import Balenafile, Stage


@dataclass(frozen=True, slots=True)
class ResolvedStage:
    """A stage to build: `base` expanded; `base_stage` the stage that its image names, if any.

    `copied_stages` maps the text of a `COPY --from=` to the stage; a text that is not in it names
    an image.
    """

    stage: Stage
    base: From
    base_stage: Stage | None
    copied_stages: Mapping[str, Stage]

    @property
    def name(self) -> str:
        """The stage's name, or its index."""
        return self.stage.name


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The stages to build, the target last; `global_values` is for :class:`expand.StageScope`."""

    stages: tuple[ResolvedStage, ...]
    global_values: Mapping[str, str]
    warnings: tuple[str, ...]


def plan_build(
    balenafile: Balenafile, *, target: str | None = None, build_args: Mapping[str, str]
) -> BuildPlan:
    """Return what to build for `target` (a stage's name or index; None: the last stage).

    `warnings` has the file's own and one for each build argument that no ARG declares. Raises
    BalenafileError.
    """
    values = global_values(balenafile, build_args)
    needed: dict[int, ResolvedStage] = {}
    open_stages = [balenafile.target(target)]
    while open_stages:
        stage = open_stages.pop()
        if stage.index in needed:
            continue
        resolved = _resolve(balenafile, stage, values)
        needed[stage.index] = resolved
        open_stages.extend(resolved.copied_stages.values())
        if resolved.base_stage is not None:
            open_stages.append(resolved.base_stage)
    return BuildPlan(
        tuple(needed[index] for index in sorted(needed)),
        values,
        (*balenafile.warnings, *undeclared_warnings(balenafile, build_args)),
    )


def global_values(balenafile: Balenafile, build_args: Mapping[str, str]) -> Mapping[str, str]:
    """Return the values of the ARGs in front of the first FROM; each sees the ones above it."""
    values: dict[str, str] = {}
    predefined = {name: build_args[name] for name in PREDEFINED_ARGS if name in build_args}
    for instruction in balenafile.global_args:
        for name, default in expand(instruction, {**predefined, **values}).declarations:
            value = build_args.get(name, default)
            if value is not None:
                values[name] = value
    return values


def undeclared_warnings(balenafile: Balenafile, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning for each build argument that no ARG in the file declares."""
    declared = {
        declaration.name
        for instruction in (
            *balenafile.global_args,
            *(found for stage in balenafile.stages for found in stage.instructions),
        )
        if isinstance(instruction, Arg)
        for declaration in instruction.declarations
    }
    return tuple(
        f"the build argument {name} is not used: {balenafile.name} has no ARG {name}"
        for name in build_args
        if name not in declared and name not in PREDEFINED_ARGS
    )


def _resolve(balenafile: Balenafile, stage: Stage, values: Mapping[str, str]) -> ResolvedStage:
    base = expand(stage.base, values)
    # As in Docker, FROM knows stages by name only: a number would be an image's name.
    is_number = base.image.isdigit()
    base_stage = None if is_number else balenafile.find_stage(base.image, before=stage.index)
    copied: dict[str, Stage] = {}
    for instruction in stage.instructions:
        if isinstance(instruction, Copy) and instruction.from_stage is not None:
            found = balenafile.find_stage(instruction.from_stage, before=stage.index)
            if found is not None:
                copied[instruction.from_stage] = found
    return ResolvedStage(stage, base, base_stage, copied)
