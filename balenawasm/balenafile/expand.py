"""Replacing variables in an instruction, and which variables a stage's instructions see.

Spec: Dockerfile reference, "Environment replacement", "Scope", "Predefined ARGs". An instruction
sees the variables as they were before it: `ENV a=1 b=$a` gives b the old value of a. An ARG is
visible from its own line on, and an ENV of the same name always wins.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar, cast

from balenawasm.balenafile.decode import located
from balenawasm.balenafile.instructions import (
    Add,
    Arg,
    ArgDeclaration,
    Copy,
    Env,
    Expose,
    From,
    Instruction,
    Label,
    Volume,
    Workdir,
)
from balenawasm.balenafile.source import BalenafileError
from balenawasm.balenafile.words import WordError, process_word, process_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PREDEFINED_ARGS = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
"""Build arguments that need no ARG."""

_I = TypeVar("_I", bound=Instruction)


class StageScope:
    """The variables of one stage while it is built, instruction by instruction.

    `environment` starts with the base image's; `global_values` are those of the ARGs in front of
    the first FROM (see :func:`resolve.global_values`); `build_args` are the user's.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        global_values: Mapping[str, str],
        build_args: Mapping[str, str],
    ) -> None:
        self._environment = dict(environment)
        self._global_values = global_values
        self._build_args = build_args
        self._args = {name: build_args[name] for name in PREDEFINED_ARGS if name in build_args}
        self._declared: set[str] = set()

    @property
    def environment(self) -> Mapping[str, str]:
        """What ENV has set so far, the base image's included: the image's environment."""
        return MappingProxyType(self._environment)

    @property
    def arguments(self) -> Mapping[str, str]:
        """The build arguments that a command of RUN sees beside the environment."""
        return {name: value for name, value in self._args.items() if name not in self._environment}

    @property
    def declared(self) -> frozenset[str]:
        """Names of build arguments that an ARG of this stage has declared so far."""
        return frozenset(self._declared)

    @property
    def variables(self) -> Mapping[str, str]:
        """What the next instruction sees."""
        return {**self._args, **self._environment}

    def expand(self, instruction: _I) -> _I:
        """Return the instruction expanded, after taking note of what it declares (ENV and ARG)."""
        expanded = expand(instruction, self.variables)
        if isinstance(expanded, Env):
            self._environment.update(expanded.pairs)
        elif isinstance(expanded, Arg):
            for name, default in expanded.declarations:
                self._declared.add(name)
                value = self._build_args.get(name, default)
                if value is None:
                    value = self._global_values.get(name)
                if value is not None:
                    self._args[name] = value
        return expanded


def expand(instruction: _I, variables: Mapping[str, str]) -> _I:
    """Return `instruction` with plain values for words; those with command lines stay as they are.

    Raises BalenafileError with the instruction's position, also when a value turns out empty
    where it cannot be.
    """
    expander = _EXPANDERS.get(type(instruction))
    if expander is None:
        return instruction
    try:
        return cast("_I", expander(_Words(instruction, variables), instruction))
    except WordError as error:
        raise located(error, instruction) from error


@dataclasses.dataclass(frozen=True, slots=True)
class _Words:
    """Word processing for one instruction."""

    instruction: Instruction
    variables: Mapping[str, str]

    def one(self, word: str) -> str:
        return process_word(word, self.variables, self.instruction.escape)

    def optional(self, word: str | None) -> str | None:
        return None if word is None else self.one(word)

    def filled(self, word: str, what: str) -> str:
        """Process a word that must not become empty."""
        value = self.one(word)
        if not value:
            raise BalenafileError(
                f"{what} is empty: {word} stands for nothing",
                self.instruction.where,
                hint="declare the variable with ARG or ENV in this stage, or write ${NAME:-VALUE}",
            )
        return value

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((self.filled(name, "a name"), self.one(value)) for name, value in pairs)


def _from(words: _Words, instruction: From) -> From:
    return dataclasses.replace(
        instruction,
        image=words.filled(instruction.image, "the image"),
        platform=words.optional(instruction.platform),
    )


def _copy(words: _Words, instruction: Copy) -> Copy:
    return dataclasses.replace(
        instruction,
        sources=tuple(words.filled(source, "a source") for source in instruction.sources),
        destination=words.filled(instruction.destination, "the destination"),
        chmod=words.optional(instruction.chmod),
        chown=words.optional(instruction.chown),
    )


def _add(words: _Words, instruction: Add) -> Add:
    return dataclasses.replace(
        instruction,
        sources=tuple(words.filled(source, "a source") for source in instruction.sources),
        destination=words.filled(instruction.destination, "the destination"),
        checksum=words.optional(instruction.checksum),
        chmod=words.optional(instruction.chmod),
        chown=words.optional(instruction.chown),
    )


def _workdir(words: _Words, instruction: Workdir) -> Workdir:
    return dataclasses.replace(instruction, path=words.filled(instruction.path, "the path"))


def _env(words: _Words, instruction: Env) -> Env:
    return dataclasses.replace(instruction, pairs=words.pairs(instruction.pairs))


def _label(words: _Words, instruction: Label) -> Label:
    return dataclasses.replace(instruction, pairs=words.pairs(instruction.pairs))


def _arg(words: _Words, instruction: Arg) -> Arg:
    return dataclasses.replace(
        instruction,
        declarations=tuple(
            ArgDeclaration(words.filled(name, "a name"), words.optional(default))
            for name, default in instruction.declarations
        ),
    )


def _expose(words: _Words, instruction: Expose) -> Expose:
    specifications = tuple(
        found
        for word in instruction.specifications
        for found in process_words(word, words.variables, instruction.escape)
    )
    return dataclasses.replace(instruction, specifications=specifications)


def _volume(words: _Words, instruction: Volume) -> Volume:
    return dataclasses.replace(
        instruction, paths=tuple(words.filled(path, "a path") for path in instruction.paths)
    )


_EXPANDERS: Mapping[type[Instruction], Callable[[_Words, Instruction], Instruction]] = cast(
    "Mapping[type[Instruction], Callable[[_Words, Instruction], Instruction]]",
    {
        From: _from,
        Copy: _copy,
        Add: _add,
        Workdir: _workdir,
        Env: _env,
        Label: _label,
        Arg: _arg,
        Expose: _expose,
        Volume: _volume,
    },
)
