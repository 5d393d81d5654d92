"""What `balenawasm run` does: one program in a new container, in the foreground.

These imports are part of every start: no click, and what only a build needs is imported when one
happens.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.cli.state import open_home, open_store
from balenawasm.cli.values import variable
from balenawasm.errors import BalenaWasmError, UsageError
from balenawasm.oci.reference import parse_reference
from balenawasm.runtime.bundle import DEFAULT_LIMITS, Layer, Limits, Mount, MountKind
from balenawasm.runtime.foreground import RunSpec, run_foreground
from balenawasm.runtime.recipes import NAMESPACE, CheckedImage, default_recipes
from balenawasm.store.errors import ImageNotFoundError

if TYPE_CHECKING:
    from balenawasm.cli.run_options import RunOptions
    from balenawasm.cli.values import TmpfsMount
    from balenawasm.oci.config import ImageConfig
    from balenawasm.runtime.home import Home
    from balenawasm.runtime.ports import PublishedPort
    from balenawasm.store.images import Image


class NoCommandError(BalenaWasmError):
    """Neither the image nor the command line says what to run."""


def run_container(options: RunOptions) -> int:
    """Run a program to its end; returns its exit status, or raises BalenaWasmError."""
    if options.tty:
        status = _enter_terminal(options)
        if status is not None:
            return status
    home = open_home()
    mounts = (
        *(_mount(home, *volume) for volume in options.volumes),
        *map(_tmpfs, options.tmpfs),
    )
    common = {
        "mounts": mounts,
        "ports": _ports(options),
        "allow": options.allow,
        "network": options.network or "bridge",
        "stdin": options.interactive,
        "tty": options.tty,
        "limits": _limits(options),
    }
    given = tuple(os.fsencode(variable(text)) for text in options.variables)
    if options.tty:
        from balenawasm.cli.terminal_relay import kind_of_terminal

        given = (kind_of_terminal(), *given)
    program = _program(options.image)
    arguments, entrypoint = options.arguments, options.entrypoint
    if program is not None:
        if entrypoint is not None:
            raise UsageError("--entrypoint goes with an image, not with a wasm file")
        spec = RunSpec(
            program=program,
            argv=(os.fsencode(program.name), *map(os.fsencode, arguments)),
            env=given,
            cwd=os.fsencode(options.workdir or "/"),
            # A module of no image has no conventions either: what -e says is all it finds.
            bare_environment=True,
            **common,  # type: ignore[arg-type]
        )
    else:
        found = find_image(home, options.image)
        config = found.config
        command = _command(options, config)
        if not command:
            raise NoCommandError(
                f"image {options.image} does not say what to run",
                hint=f"balenawasm run {options.image} CMD …",
            )
        bare = options.bare_environment
        spec = RunSpec(
            layers=layers_of(found),
            argv=tuple(map(os.fsencode, command)),
            env=given if bare else (*map(os.fsencode, config.env), *given),
            bare_environment=bare,
            cwd=os.fsencode(options.workdir or config.working_dir or "/"),
            preopens=tuple(map(os.fsencode, config.preopens)),
            **common,  # type: ignore[arg-type]
        )
    return run_foreground(home, spec, progress=_show, notice=_show)


def _enter_terminal(options: RunOptions) -> int | None:
    """See terminal_relay. Without -i the program has a terminal that nobody types at."""
    from balenawasm.cli.terminal_relay import check_input, enter_terminal

    if options.interactive:
        check_input()
    return enter_terminal(interactive=options.interactive)


def _ports(options: RunOptions) -> tuple[PublishedPort, ...]:
    """The ports to publish: none where the network is the host's, as in Docker."""
    if options.ports and options.network not in (None, "bridge"):
        _show(f"-p is ignored: nothing is published with --network {options.network}")
        return ()
    return options.ports


def _limits(options: RunOptions) -> Limits:
    weight = None
    if options.cpu_shares is not None:
        from balenawasm.compose.amounts import cpu_weight

        weight = cpu_weight(options.cpu_shares)
    return Limits(
        memory=options.memory,
        processes=options.pids_limit or DEFAULT_LIMITS.processes,
        open_files=options.ulimits[-1] if options.ulimits else DEFAULT_LIMITS.open_files,
        cpus=options.cpus,
        cpu_weight=weight,
        cpu_time=options.cpu_time,
        storage=options.storage,
    )


def _show(line: str) -> None:
    print(f"balenawasm: {line}", file=sys.stderr, flush=True)


def _command(options: RunOptions, config: ImageConfig) -> tuple[str, ...]:
    """What to run of an image. As with docker, an entry point of one's own takes the image's
    command away, and an empty one the image's entry point.
    """
    if options.entrypoint is None:
        return (*config.entrypoint, *(options.arguments or config.cmd))
    own = (options.entrypoint,) if options.entrypoint else ()
    return (*own, *options.arguments)


def _program(text: str) -> Path | None:
    """The wasm file that IMAGE names, or None when it is an image's name."""
    path = Path(text)
    is_path = text.startswith(("/", "./", "../")) or path.suffix in (".wasm", ".wat")
    if is_path and not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise UsageError(f"the program {text} {what}")
    return path if is_path else None


def find_image(home: Home, name: str) -> Image:
    """An image from the store; one of ours is built when missing or when its recipe changed."""
    reference = parse_reference(name)
    recipes = default_recipes() if reference.repository.startswith(NAMESPACE) else None
    if recipes is None:
        try:
            return open_store(home).images.get(reference)
        except ImageNotFoundError:
            from balenawasm.cli.images import base_image

            return base_image(home, name)  # knows better what could have been meant
    checked = CheckedImage(home.build_cache, reference.repository, recipes)
    try:
        image = open_store(home).images.get(reference)
        if checked.holds(image.digest):
            return image
    except ImageNotFoundError:
        pass
    from balenawasm.cli.images import base_image

    image = base_image(home, name)
    checked.remember(image.digest)
    return image


def layers_of(image: Image) -> tuple[Layer, ...]:
    """An image's layers as a bundle names them, lowest first."""
    return tuple(
        Layer(path=str(path), digest=descriptor.digest)
        for path, descriptor in zip(image.layer_paths, image.manifest.layers, strict=True)
    )


def _tmpfs(given: TmpfsMount) -> Mount:
    source = _existing(given.source) if given.source else ""
    target = os.fsencode(given.target)
    return Mount(kind=MountKind.TMPFS, source=source, target=target, size=given.size)


def _existing(source: str) -> str:
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise UsageError(f"cannot mount {source}: it does not exist")
    return str(path)


def _mount(home: Home, source: str, target: str, read_only: bool) -> Mount:
    """A bind when the source is a path, else a named volume, made when it is missing."""
    where = os.fsencode(target)
    if source.startswith(("/", "./", "../", "~")) or source in (".", ".."):
        return Mount(
            kind=MountKind.BIND, source=_existing(source), target=where, read_only=read_only
        )
    path = home.volume(source)
    path.mkdir(mode=0o700, exist_ok=True)
    return Mount(kind=MountKind.VOLUME, source=str(path), target=where, read_only=read_only)
