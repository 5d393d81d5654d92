"""A Balenafile as stages: what stands in front of the first FROM, and one stage for each FROM.

Spec: Dockerfile reference, "FROM", "Understand how ARG and FROM interact"; "Multi-stage builds".
A file is checked whole when it is parsed: whoever holds a :class:`Balenafile` holds supported
instructions only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.balenafile.decode import Decoder
from balenawasm.balenafile.instructions import Arg, Copy, From, Instruction
from balenawasm.balenafile.parser import parse_text
from balenawasm.balenafile.source import BalenafileError, SourceRange

if TYPE_CHECKING:
    from pathlib import Path

_MAXIMUM_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows it; `index` counts from 0."""

    index: int
    base: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """The stage's name in lower case, or its index for a stage without one."""
        return self.base.alias or str(self.index)


@dataclass(frozen=True, slots=True)
class Balenafile:
    """A parsed file; `global_args` stand before the first FROM; `warnings` name doubtful places."""

    name: str
    stages: tuple[Stage, ...]
    global_args: tuple[Arg, ...]
    warnings: tuple[str, ...] = ()

    def find_stage(self, reference: str, *, before: int | None = None) -> Stage | None:
        """Return the stage with this name, in any case, or this index; None if there is none.

        With `before`, only stages with a smaller index are seen.
        """
        candidates = self.stages[:before]
        wanted = reference.lower()
        for stage in candidates:
            if stage.base.alias == wanted:
                return stage
        if (
            wanted.isascii()
            and wanted.isdigit()
            and len(wanted) < 6
            and int(wanted) < len(candidates)
        ):
            return candidates[int(wanted)]
        return None

    def target(self, reference: str | None) -> Stage:
        """Return the stage to build: the last one, or the one that `--target` names.

        Raises BalenafileError, with the names there are.
        """
        if reference is None:
            return self.stages[-1]
        stage = self.find_stage(reference)
        if stage is None:
            raise BalenafileError(
                f"{self.name} has no stage {reference!r}",
                hint="its stages: " + ", ".join(stage.name for stage in self.stages),
            )
        return stage


def parse_balenafile(text: str, name: str) -> Balenafile:
    """Parse a whole file; `name` is what messages call it.

    Raises BalenafileError for what is wrong, NotYetSupportedError for what Docker has and
    balenawasm not yet.
    """
    parsed = parse_text(text, name)
    decoder = Decoder(parsed.escape)
    global_args: list[Arg] = []
    open_stages: list[tuple[From, list[Instruction]]] = []
    for node in parsed.nodes:
        instruction = decoder.decode(node)
        if isinstance(instruction, From):
            open_stages.append((instruction, []))
        elif open_stages:
            open_stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            global_args.append(instruction)
        else:
            raise BalenafileError(
                f"{instruction.keyword} stands before the first FROM",
                instruction.where,
                hint="start with FROM; only ARG may stand before it",
            )
    if not open_stages:
        raise BalenafileError(
            f"{name} has no FROM", hint="start with FROM and a base image, or FROM scratch"
        )
    stages = tuple(
        Stage(index, base, tuple(instructions))
        for index, (base, instructions) in enumerate(open_stages)
    )
    balenafile = Balenafile(name, stages, tuple(global_args), (*parsed.warnings, *decoder.warnings))
    _check_stage_names(balenafile)
    return balenafile


def read_balenafile(path: Path, name: str | None = None) -> Balenafile:
    """Read and parse a file; messages call it `name`, or by its path.

    Raises BalenafileError also when the file is missing, unreadable, too large or not UTF-8.
    """
    shown = name or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAXIMUM_BYTES + 1)
    except OSError as error:
        raise BalenafileError(f"cannot read {shown}: {error.strerror}") from error
    if len(data) > _MAXIMUM_BYTES:
        raise BalenafileError(f"{shown} is larger than {_MAXIMUM_BYTES >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        source = data.split(b"\n")[line - 1].decode(errors="replace")
        raise BalenafileError(
            "the text is not UTF-8", SourceRange(shown, line, line, source)
        ) from error
    return parse_balenafile(text, shown)


def _check_stage_names(balenafile: Balenafile) -> None:
    """Refuse two stages with one name, and COPY --from a stage that comes later or is the same."""
    seen: dict[str, Stage] = {}
    for stage in balenafile.stages:
        if (alias := stage.base.alias) is not None:
            if alias in seen:
                raise BalenafileError(
                    f"two stages are called {alias!r}",
                    stage.base.where,
                    hint=f"the other one is in line {seen[alias].base.where.first_line}",
                )
            seen[alias] = stage
    for stage in balenafile.stages:
        for instruction in stage.instructions:
            if isinstance(instruction, Copy) and instruction.from_stage is not None:
                _check_copied_stage(balenafile, stage, instruction, instruction.from_stage)


def _check_copied_stage(
    balenafile: Balenafile, stage: Stage, instruction: Copy, reference: str
) -> None:
    if balenafile.find_stage(reference, before=stage.index) is not None:
        return
    other = balenafile.find_stage(reference)
    if other is not None:
        what = "itself" if other.index == stage.index else "a stage that comes later"
        raise BalenafileError(
            f"--from={reference} names {what}",
            instruction.where,
            hint="a stage copies from stages above it",
        )
    if reference.isdigit():
        raise BalenafileError(
            f"--from={reference}: there is no such stage",
            instruction.where,
            hint=f"stages are counted from 0, and the file has {len(balenafile.stages)}",
        )
