"""One stage while it is built: instruction by instruction, from its base to a BuiltStage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balenawasm.balenafile.expand import StageScope
from balenawasm.balenafile.instructions import (
    SCRATCH,
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Run,
    Shell,
    Volume,
    Workdir,
)
from balenawasm.balenafile.source import BalenafileError
from balenawasm.build.artifact_contexts import artifact_name
from balenawasm.build.errors import InstructionError
from balenawasm.build.file_steps import FileSteps, absolute
from balenawasm.build.filetree import resolve
from balenawasm.build.layer_step import StepResult
from balenawasm.build.run_steps import RunSteps, command_words, shell_words
from balenawasm.build.workbench import BuiltStage, Workbench
from balenawasm.oci.config import Healthcheck as HealthcheckConfig
from balenawasm.oci.config import History, ImageConfig
from balenawasm.oci.mediatypes import (
    ARCHITECTURE,
    EXT4_LAYER,
    OPERATING_SYSTEM,
    RECIPE_DIGEST_LABEL,
)
from balenawasm.runtime.plain_words import NotPlainError, plain_words
from balenawasm.store.errors import ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balenawasm.balenafile.resolve import ResolvedStage
    from balenawasm.oci.descriptor import Descriptor
    from balenawasm.store.images import Image

_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StageBuild:
    """The state of one stage. Every error that belongs to an instruction is a BalenafileError."""

    def __init__(
        self,
        bench: Workbench,
        resolved: ResolvedStage,
        finished: Mapping[int, BuiltStage],
        global_values: Mapping[str, str],
        build_args: Mapping[str, str],
    ) -> None:
        """Carry out FROM; `finished` has the stages built before, by index."""
        self._bench = bench
        self._resolved = resolved
        self._finished = finished
        self._files = FileSteps(bench)
        self._commands = RunSteps(bench)
        self._has_cmd = False
        base = self._base()
        self._layers: list[Descriptor] = list(base.layers)
        labels = dict(base.config.labels)
        # It tells which recipe the base was built from, and this image is another one.
        labels.pop(RECIPE_DIGEST_LABEL, None)
        self._config = base.config._replace(created=None, labels=labels)
        self._scope = StageScope(base.config.environment, global_values, build_args)

    def run(self, instruction: Instruction) -> StepResult:
        """Carry out one instruction. Raises BalenafileError, StoreError."""
        expanded = self._scope.expand(instruction)
        step = _STEPS[type(expanded)]
        try:
            result = step(self, expanded)
        except InstructionError as error:
            raise BalenafileError(error.message, instruction.where, hint=error.hint) from error
        if result.layer is not None:
            self._layers.append(result.layer)
        entry = History(instruction_text(instruction), empty_layer=result.layer is None)
        self._config = self._config._replace(history=(*self._config.history, entry))
        return result

    def result(self) -> BuiltStage:
        """Return the stage as it is now."""
        return BuiltStage(tuple(self._layers), self._config)

    def _base(self) -> BuiltStage:
        resolved = self._resolved
        if resolved.base_stage is not None:
            return self._finished[resolved.base_stage.index]
        if resolved.base.image == SCRATCH:
            return BuiltStage((), ImageConfig(env=(_DEFAULT_PATH,)))
        return self._image(resolved.base.image, resolved.base)

    def _image(self, name: str, instruction: Instruction) -> BuiltStage:
        try:
            image = self._bench.find_image(name)
        except ImageNotFoundError as error:
            raise BalenafileError(error.message, instruction.where, hint=error.hint) from error
        problem = _foreign(image)
        if problem is not None:
            raise BalenafileError(
                f"{name} cannot be used here: {problem}",
                instruction.where,
                hint="base images for balenawasm hold WebAssembly, not native programs",
            )
        return BuiltStage(image.manifest.layers, image.config)

    def _copy(self, copy: Copy) -> StepResult:
        origin = None
        if artifact_name(copy.from_stage) is not None:
            return self._files.copy_artifact(self._layers, copy, self._config.working_dir)
        if copy.from_stage is not None:
            stage = self._resolved.copied_stages.get(copy.from_stage)
            if stage is None:
                origin = self._image(copy.from_stage, copy)
            else:
                origin = self._finished[stage.index]
        return self._files.copy(self._layers, copy, self._config.working_dir, origin)

    def _add(self, add: Add) -> StepResult:
        return self._files.add(self._layers, add, self._config.working_dir)

    def _workdir(self, workdir: Workdir) -> StepResult:
        path = absolute(workdir.path, self._config.working_dir)
        self._config = self._config._replace(working_dir=path)
        return self._files.workdir(self._layers, path)

    def _env(self, _: Env) -> StepResult:
        items = self._scope.environment.items()
        self._config = self._config._replace(env=tuple(f"{name}={value}" for name, value in items))
        return StepResult()

    def _arg(self, _: Arg) -> StepResult:
        return StepResult()

    def _label(self, label: Label) -> StepResult:
        labels = {**self._config.labels, **dict(label.pairs)}
        self._config = self._config._replace(labels=labels)
        return StepResult()

    def _expose(self, expose: Expose) -> StepResult:
        ports = {f"{port.number}/{port.protocol}" for port in expose.ports}
        exposed = tuple(sorted(ports.union(self._config.exposed_ports)))
        self._config = self._config._replace(exposed_ports=exposed)
        return StepResult()

    def _volume(self, volume: Volume) -> StepResult:
        paths = {absolute(path, "/") for path in volume.paths}
        volumes = tuple(sorted(paths.union(self._config.volumes)))
        self._config = self._config._replace(volumes=volumes)
        return StepResult()

    def _cmd(self, cmd: Cmd) -> StepResult:
        self._has_cmd = True
        self._config = self._config._replace(cmd=self._command(cmd))
        return StepResult()

    def _entrypoint(self, entrypoint: Entrypoint) -> StepResult:
        words = self._command(entrypoint)
        # An inherited CMD was written for the entry point that is now replaced (Docker's rule).
        cmd = self._config.cmd if self._has_cmd else ()
        self._config = self._config._replace(entrypoint=words, cmd=cmd)
        return StepResult()

    def _healthcheck(self, check: Healthcheck) -> StepResult:
        test: tuple[str, ...] = ("NONE",)
        if check.shell is not None:
            test = ("CMD-SHELL", check.shell)
        elif check.exec is not None:
            test = ("CMD", *check.exec)
        recorded = HealthcheckConfig(
            test=test,
            interval=check.interval or 0,
            timeout=check.timeout or 0,
            start_period=check.start_period or 0,
            start_interval=check.start_interval or 0,
            retries=check.retries or 0,
        )
        self._config = self._config._replace(healthcheck=recorded)
        if test != ("NONE",):
            self._bench.reporter.warn(
                "HEALTHCHECK is written into the image, but balenawasm does not check health yet",
                "a service counts as healthy while it runs",
            )
        return StepResult()

    def _shell(self, shell: Shell) -> StepResult:
        self._config = self._config._replace(shell=shell.words)
        return StepResult()

    def _run_command(self, run: Run) -> StepResult:
        return self._commands.run(self._layers, self._config, self._scope, run)

    def _command(self, command: Cmd | Entrypoint) -> tuple[str, ...]:
        words = command_words(command.shell, command.exec, self._config)
        if command.shell is None or self._config.shell:
            return words
        tree = self._bench.tree(self._layers, "the image so far")
        shell = shell_words(self._config)[0]
        if tree.lookup(resolve(tree, shell.encode())) is not None:
            return words
        try:
            return plain_words(command.shell)
        except NotPlainError as error:
            raise InstructionError(
                f"the image has no {shell} to run this with: {error}",
                hint='use the JSON form, ["program", "argument"], or a base image with a shell',
            ) from error


_STEPS: Mapping[type[Instruction], Callable[[StageBuild, Any], StepResult]] = {
    Add: StageBuild._add,
    Arg: StageBuild._arg,
    Cmd: StageBuild._cmd,
    Copy: StageBuild._copy,
    Entrypoint: StageBuild._entrypoint,
    Env: StageBuild._env,
    Expose: StageBuild._expose,
    Healthcheck: StageBuild._healthcheck,
    Label: StageBuild._label,
    Run: StageBuild._run_command,
    Shell: StageBuild._shell,
    Volume: StageBuild._volume,
    Workdir: StageBuild._workdir,
}


def instruction_text(instruction: Instruction) -> str:
    """Return an instruction for people: its first line as written."""
    where = instruction.where
    text = where.text.strip()
    return text if where.last_line == where.first_line else text.rstrip(" \\`") + " …"


def _foreign(image: Image) -> str | None:
    config = image.config
    if (config.architecture, config.os) != (ARCHITECTURE, OPERATING_SYSTEM):
        return f"it is made for {config.os}/{config.architecture}"
    for layer in image.manifest.layers:
        if layer.media_type != EXT4_LAYER:
            return f"it has a layer of type {layer.media_type}"
    return None
