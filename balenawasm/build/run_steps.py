"""RUN: a command over the stage's files so far; what it changes becomes a layer.

Its key is everything that it sees: the layers below, the words of the command (the shell's
included), the environment with the build arguments, the working directory and what it may reach.
As in Docker, predefined build arguments (proxies) count only where an ARG names them.

Outside connections are denied unless the Balenafile (`RUN --network=host`) or who builds says
otherwise.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from balenawasm.balenafile.expand import PREDEFINED_ARGS
from balenawasm.build.errors import InstructionError
from balenawasm.build.layer_step import StepResult, layer_step
from balenawasm.build.run_changes import run_changes
from balenawasm.runtime.bundle import Bundle, Layer, Network, Text
from balenawasm.runtime.exitrecord import NOT_FOUND
from balenawasm.runtime.plain_words import SHELL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balenawasm.balenafile.expand import StageScope
    from balenawasm.balenafile.instructions import Run
    from balenawasm.build.command_runner import CommandEnd, Place
    from balenawasm.build.workbench import Workbench
    from balenawasm.disk.entry import Entry
    from balenawasm.oci.config import ImageConfig
    from balenawasm.oci.descriptor import Descriptor
    from balenawasm.oci.document import Json

_HOSTNAME = "build"
"""The same for every command: it may end up in files."""
_ADDRESS = "10.0.0.2"
_ADVICE = 'build with --allow "{grant}", or with --network host, or write RUN --network=host'
_NO_PROGRAM_HINT = "check PATH, the working directory and what the stage has been given so far"


class RunError(InstructionError):
    """A command of RUN did not succeed, or could not be started."""


class RunSteps:
    """RUN over one workbench."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._runner = bench.runner
        self._settings = bench.run_settings

    def run(
        self, layers: Sequence[Descriptor], config: ImageConfig, scope: StageScope, run: Run
    ) -> StepResult:
        """Run a command, or take what it made from the cache. Raises RunError."""
        words = command_words(run.shell, run.exec, config)
        arguments = scope.arguments
        counting = {
            name: value
            for name, value in arguments.items()
            if name not in PREDEFINED_ARGS or name in scope.declared
        }
        mode = self._mode(run)
        scripts: dict[str, Json] = {} if run.script is None else {"script": run.script}
        members: dict[str, Json] = {
            "run": list(words),
            "environment": [*_variables(counting), *config.env],
            "workdir": config.working_dir,
            "network": mode,
            "allow": list(self._settings.allow) if mode == "bridge" else [],
            "preopens": list(config.preopens),
            "latest": self._bench.latest,
            **scripts,
        }
        with self._runner.place() as place:
            argv = tuple(map(os.fsencode, words))
            network = Network(
                address=_ADDRESS,
                directory=str(place.network),
                hosts_file=str(place.network / "hosts"),
                allow=self._settings.allow,
                mode=mode,
                advice=_ADVICE,
            )
            bundle = Bundle(
                id=place.id,
                layers=self._layers(layers),
                argv=argv,
                env=tuple(map(os.fsencode, (*_variables(arguments), *config.env))),
                cwd=os.fsencode(config.working_dir or "/"),
                network=network,
                hostname=_HOSTNAME,
                limits=self._settings.limits,
                preopens=tuple(map(os.fsencode, config.preopens)),
                texts=() if run.script is None else (Text(argv[0], os.fsencode(run.script)),),
                output_pipe=True,
            )
            return layer_step(
                self._bench, layers, members, lambda: self._make(place, bundle, layers, run)
            )

    def _make(
        self, place: Place, bundle: Bundle, layers: Sequence[Descriptor], run: Run
    ) -> list[Entry] | None:
        bench = self._bench
        end = self._runner.run(place, bundle, bench.reporter.output)
        if end.code != 0 or not end.started:
            raise _failure(end, bundle, run)
        below = bench.tree(layers, "the image so far")
        return run_changes(place.paths.upper, below, bench.latest, bench.reporter.warn)

    def _mode(self, run: Run) -> str:
        """Return a mode of the bundle's network."""
        granted = self._settings.network
        wanted = run.network or "default"
        if wanted == "host" and granted == "none":
            raise RunError(
                "this command wants the host's network, and the build was told --network none",
                hint="build without --network none if you trust the Balenafile",
            )
        mode = granted if wanted == "default" else wanted
        return "bridge" if mode == "default" else mode

    def _layers(self, layers: Sequence[Descriptor]) -> tuple[Layer, ...]:
        blobs = self._bench.store.blobs
        return tuple(Layer(path=str(blobs.path(it.digest)), digest=it.digest) for it in layers)


def shell_words(config: ImageConfig) -> tuple[str, ...]:
    """Return what shell forms are run with: SHELL's, or Docker's default."""
    return config.shell or (SHELL, "-c")


def command_words(
    shell: str | None, words: tuple[str, ...] | None, config: ImageConfig
) -> tuple[str, ...]:
    """Return the arguments of a command in either form."""
    return (*shell_words(config), shell) if shell is not None else words or ()


def _variables(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _failure(end: CommandEnd, bundle: Bundle, run: Run) -> RunError:
    program = os.fsdecode(bundle.argv[0])
    if end.started:
        # Else the reason says no more than the code.
        reason = "" if end.reason.startswith("exited ") else f": {end.reason}"
        hint = None
        if end.code == NOT_FOUND and run.shell is not None:
            hint = "127 is a shell's way to say that there is no such command in the image"
        return RunError(f"the command ended with exit code {end.code}{reason}", hint=hint)
    if end.code != NOT_FOUND:
        return RunError(f"{end.reason} (exit code {end.code})", hint=end.hint)
    if run.shell is not None:
        return RunError(
            f"there is no {program} in this image to run the command with (exit code {end.code})",
            hint='use the JSON form, RUN ["program", "argument"], or start FROM balenaos/busybox',
        )
    return RunError(f"{end.reason} (exit code {end.code})", hint=_NO_PROGRAM_HINT)
