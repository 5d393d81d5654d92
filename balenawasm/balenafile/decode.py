"""Nodes → typed instructions: flags, forms of arguments, and a clear answer for everything else.

Spec: Dockerfile reference, one section per instruction, "Shell and exec form"; where it is
silent, BuildKit. As there, an argument that starts with `[` but is not valid JSON is taken as
words. Every word is checked for its form here, so that a misplaced quote is reported before
anything is built.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from balenawasm.balenafile.health_options import HEALTH_OPTIONS, health_values
from balenawasm.balenafile.instructions import (
    NETWORK_MODES,
    SCRATCH,
    SCRIPT_DIRECTORY,
    Add,
    Arg,
    ArgDeclaration,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Run,
    Shell,
    Volume,
    Workdir,
    parse_ports,
)
from balenawasm.balenafile.source import BalenafileError, NotYetSupportedError
from balenawasm.balenafile.words import (
    UnsupportedSubstitutionError,
    WordError,
    check_word,
    split_words,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from balenawasm.balenafile.parser import Node

NOT_YET: Mapping[str, str] = {
    "MAINTAINER": "write LABEL org.opencontainers.image.authors=… instead",
    "ONBUILD": "write the instruction into the Balenafiles that use this image",
    "STOPSIGNAL": "let the program end on SIGTERM",
    "USER": "leave it out; a sandboxed program has no rights on the host to give up",
}
"""Docker's instructions that are refused, with what to do instead."""

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*\Z")
_FLAG = re.compile(r"""--([A-Za-z][\w-]*)(?:=((?:"[^"]*"|'[^']*'|[^\s"'])*))?(?:[ \t]+|\Z)""")
_HEREDOC = re.compile(r"""\d*<<-?["']?[A-Za-z_]""")
_FLAGS: Mapping[str, frozenset[str]] = {
    "FROM": frozenset({"platform"}),
    "COPY": frozenset({"chmod", "chown", "from"}),
    "ADD": frozenset({"checksum", "chmod", "chown"}),
    "RUN": frozenset({"network"}),
    "HEALTHCHECK": frozenset(HEALTH_OPTIONS),
}
_FLAGS_NOT_YET: Mapping[str, frozenset[str]] = {
    "COPY": frozenset({"exclude", "link", "parents"}),
    "ADD": frozenset({"exclude", "keep-git-dir", "link", "unpack"}),
    "RUN": frozenset({"device", "mount", "security"}),
}


@dataclass(slots=True)
class Decoder:
    """Turns nodes into instructions; `warnings` grows with what looks like a mistake."""

    escape: str
    warnings: list[str] = field(default_factory=list)

    def decode(self, node: Node) -> Instruction:
        """Return the node's instruction. Raises BalenafileError, NotYetSupportedError."""
        if node.keyword in NOT_YET:
            raise NotYetSupportedError(
                f"{node.keyword} is not supported yet", node.where, hint=NOT_YET[node.keyword]
            )
        decoder = _DECODERS.get(node.keyword)
        if decoder is None:
            raise _unknown_instruction(node)
        flags, arguments = _split_flags(node)
        if not arguments:
            raise BalenafileError(f"{node.keyword} has no arguments", node.where)
        return decoder(self, node, flags, arguments)

    def _check(self, node: Node, words: Iterable[str | None]) -> None:
        """Raise a located error for the first word with a wrong quote or variable."""
        for word in words:
            if word is not None:
                try:
                    check_word(word, self.escape)
                except WordError as error:
                    raise located(error, node) from error

    def _from(self, node: Node, flags: Mapping[str, str], arguments: str) -> From:
        words = arguments.split()
        alias = None
        if len(words) == 3 and words[1].upper() == "AS":
            alias = words[2].lower()
            if not _STAGE_NAME.match(alias):
                raise BalenafileError(
                    f"{words[2]!r} cannot be the name of a stage",
                    node.where,
                    hint="a name starts with a letter and has letters, digits, '-', '_' and '.'",
                )
            if alias == SCRATCH:
                raise BalenafileError("a stage cannot be called 'scratch'", node.where)
        elif len(words) != 1:
            raise BalenafileError(
                "FROM takes an image, or an image, AS and a name",
                node.where,
                hint="write FROM IMAGE or FROM IMAGE AS NAME",
            )
        platform = flags.get("platform")
        self._check(node, (words[0], platform))
        if platform is not None:
            self.warnings.append(
                f"{node.where}: --platform has no effect: the same image runs on every platform"
            )
        return From(
            where=node.where,
            keyword=node.keyword,
            escape=self.escape,
            image=words[0],
            alias=alias,
            platform=platform,
        )

    def _copy(self, node: Node, flags: Mapping[str, str], arguments: str) -> Copy:
        sources, destination = self._sources_and_destination(node, arguments)
        from_stage = flags.get("from")
        if from_stage is not None and (not from_stage or "$" in from_stage):
            raise BalenafileError(
                f"--from={from_stage} does not name a stage or an image",
                node.where,
                hint="--from takes no variables: use FROM $IMAGE AS NAME and --from=NAME",
            )
        self._check(node, (flags.get("chmod"), flags.get("chown")))
        return Copy(
            where=node.where,
            keyword=node.keyword,
            escape=self.escape,
            sources=sources,
            destination=destination,
            from_stage=from_stage,
            chmod=flags.get("chmod"),
            chown=flags.get("chown"),
        )

    def _add(self, node: Node, flags: Mapping[str, str], arguments: str) -> Add:
        sources, destination = self._sources_and_destination(node, arguments)
        self._check(node, (flags.get("chmod"), flags.get("chown"), flags.get("checksum")))
        return Add(
            where=node.where,
            keyword=node.keyword,
            escape=self.escape,
            sources=sources,
            destination=destination,
            checksum=flags.get("checksum"),
            chmod=flags.get("chmod"),
            chown=flags.get("chown"),
        )

    def _sources_and_destination(self, node: Node, arguments: str) -> tuple[tuple[str, ...], str]:
        words = self._json_words(node, arguments)
        if words is None:
            words = tuple(arguments.split())
            for word in words:
                if _HEREDOC.match(word):
                    raise NotYetSupportedError(
                        f"{node.keyword} of a here-document is not supported yet",
                        node.where,
                        hint="put the text into a file of the build context",
                    )
        if len(words) < 2:
            raise BalenafileError(
                f"{node.keyword} needs at least one source and a destination", node.where
            )
        self._check(node, words)
        if not all(words):
            raise BalenafileError(f"{node.keyword} has an empty path", node.where)
        return words[:-1], words[-1]

    def _workdir(self, node: Node, _: Mapping[str, str], arguments: str) -> Workdir:
        self._check(node, (arguments,))
        return Workdir(where=node.where, keyword=node.keyword, escape=self.escape, path=arguments)

    def _env(self, node: Node, _: Mapping[str, str], arguments: str) -> Env:
        pairs = self._pairs(node, arguments)
        return Env(where=node.where, keyword=node.keyword, escape=self.escape, pairs=pairs)

    def _label(self, node: Node, _: Mapping[str, str], arguments: str) -> Label:
        pairs = self._pairs(node, arguments)
        return Label(where=node.where, keyword=node.keyword, escape=self.escape, pairs=pairs)

    def _pairs(self, node: Node, arguments: str) -> tuple[tuple[str, str], ...]:
        """Read `NAME=VALUE…`, or the old form `NAME VALUE` whose value may have spaces."""
        words = split_words(arguments, self.escape)
        if words and "=" not in words[0]:
            parts = arguments.split(maxsplit=1)
            if len(parts) < 2:
                raise BalenafileError(
                    f"{node.keyword} {parts[0]} has no value",
                    node.where,
                    hint=f"write {node.keyword} {parts[0]}=VALUE",
                )
            pairs = [(parts[0], parts[1])]
        else:
            pairs = []
            for word in words:
                name, equals, value = word.partition("=")
                if not equals:
                    raise BalenafileError(
                        f"{word!r} has no '='",
                        node.where,
                        hint='put a value with white space into quotes: NAME="a b"',
                    )
                pairs.append((name, value))
        for name, value in pairs:
            if not name:
                raise BalenafileError(f"{node.keyword} has an empty name", node.where)
            self._check(node, (name, value))
        return tuple(pairs)

    def _arg(self, node: Node, _: Mapping[str, str], arguments: str) -> Arg:
        declarations = []
        for word in split_words(arguments, self.escape):
            name, equals, default = word.partition("=")
            if not name:
                raise BalenafileError("ARG has an empty name", node.where)
            self._check(node, (name, default))
            declarations.append(ArgDeclaration(name, default if equals else None))
        return Arg(
            where=node.where,
            keyword=node.keyword,
            escape=self.escape,
            declarations=tuple(declarations),
        )

    def _expose(self, node: Node, _: Mapping[str, str], arguments: str) -> Expose:
        words = tuple(arguments.split())
        self._check(node, words)
        for word in words:
            if not set(word) & {"$", "'", '"', self.escape}:
                parse_ports(word, node.where)
        return Expose(
            where=node.where, keyword=node.keyword, escape=self.escape, specifications=words
        )

    def _volume(self, node: Node, _: Mapping[str, str], arguments: str) -> Volume:
        words = self._json_words(node, arguments)
        if words is None:
            words = tuple(arguments.split())
        if not words or not all(words):
            raise BalenafileError("VOLUME needs paths that are not empty", node.where)
        self._check(node, words)
        return Volume(where=node.where, keyword=node.keyword, escape=self.escape, paths=words)

    def _cmd(self, node: Node, _: Mapping[str, str], arguments: str) -> Cmd:
        words = self._json_words(node, arguments)
        return Cmd(
            where=node.where,
            keyword=node.keyword,
            escape=self.escape,
            shell=arguments if words is None else None,
            exec=words,
        )

    def _entrypoint(self, node: Node, _: Mapping[str, str], arguments: str) -> Entrypoint:
        words = self._json_words(node, arguments)
        return Entrypoint(
            where=node.where,
            keyword=node.keyword,
            escape=self.escape,
            shell=arguments if words is None else None,
            exec=words,
        )

    def _run(self, node: Node, flags: Mapping[str, str], arguments: str) -> Run:
        words = self._json_words(node, arguments)
        if words == ():
            raise BalenafileError("RUN has no program to run", node.where)
        script = None
        if words is None and node.heredocs:
            arguments, script = _with_heredocs(node, arguments)
            words = (f"{SCRIPT_DIRECTORY}/{node.heredocs[0].name}",) if script is not None else None
        network = flags.get("network")
        if network is not None and network not in NETWORK_MODES:
            raise BalenafileError(
                f"--network={network} is not a network",
                node.where,
                hint=f"the networks are {', '.join(NETWORK_MODES)}",
            )
        return Run(
            where=node.where,
            keyword=node.keyword,
            escape=self.escape,
            shell=arguments if words is None else None,
            exec=words,
            network=network,
            script=script,
        )

    def _shell(self, node: Node, _: Mapping[str, str], arguments: str) -> Shell:
        words = self._json_words(node, arguments)
        if not words or not words[0]:
            raise BalenafileError(
                "SHELL takes the JSON form only",
                node.where,
                hint='write SHELL ["/bin/sh", "-c"]',
            )
        return Shell(where=node.where, keyword=node.keyword, escape=self.escape, words=words)

    def _healthcheck(self, node: Node, flags: Mapping[str, str], arguments: str) -> Healthcheck:
        kind, _, command = arguments.partition(" ")
        command = command.strip()
        values = health_values(flags, node.where)
        if kind.upper() == "NONE" and not command and not flags:
            return Healthcheck(where=node.where, keyword=node.keyword, escape=self.escape)
        if kind.upper() != "CMD" or not command:
            raise BalenafileError(
                "HEALTHCHECK takes options, CMD and a command, or the word NONE alone",
                node.where,
                hint="write HEALTHCHECK CMD COMMAND",
            )
        words = self._json_words(node, command)
        if words == ():
            raise BalenafileError("HEALTHCHECK has no program to run", node.where)
        return Healthcheck(
            where=node.where,
            keyword=node.keyword,
            escape=self.escape,
            shell=command if words is None else None,
            exec=words,
            **values,
        )

    def _json_words(self, node: Node, arguments: str) -> tuple[str, ...] | None:
        """Return the words of the JSON form, or None when `arguments` are not in it."""
        if not arguments.startswith("["):
            return None
        try:
            words = json.loads(arguments)
        except (ValueError, RecursionError):
            self.warnings.append(
                f"{node.where}: {node.keyword} starts with '[' but is not valid JSON, so it is"
                " taken as plain words; the JSON form needs double quotes"
            )
            return None
        if not all(isinstance(word, str) for word in words):
            raise BalenafileError(
                f"the JSON form of {node.keyword} takes texts only",
                node.where,
                hint='put every word into double quotes: ["program", "1"]',
            )
        if any("\0" in word for word in words):
            raise BalenafileError(f"a word of {node.keyword} has a NUL character", node.where)
        return tuple(_well_formed(word) for word in words)


_DECODERS: Mapping[str, Callable[[Decoder, Node, Mapping[str, str], str], Instruction]] = {
    "FROM": Decoder._from,
    "COPY": Decoder._copy,
    "ADD": Decoder._add,
    "WORKDIR": Decoder._workdir,
    "ENV": Decoder._env,
    "ARG": Decoder._arg,
    "LABEL": Decoder._label,
    "EXPOSE": Decoder._expose,
    "VOLUME": Decoder._volume,
    "CMD": Decoder._cmd,
    "ENTRYPOINT": Decoder._entrypoint,
    "RUN": Decoder._run,
    "SHELL": Decoder._shell,
    "HEALTHCHECK": Decoder._healthcheck,
}


def _with_heredocs(node: Node, arguments: str) -> tuple[str, str | None]:
    """Return the text for the shell and, for a here-document that is a script, that.

    As in BuildKit: one alone is what the shell runs; others are handed to the shell as they are.
    """
    first = node.heredocs[0]
    if first.alone:
        is_script = first.content.startswith("#!")
        return first.content, first.content if is_script else None
    return "\n".join([arguments, *(item.text + item.name for item in node.heredocs)]), None


def located(error: WordError, place: Node | Instruction) -> BalenafileError:
    """Return a word's error with the position of its instruction."""
    kind = (
        NotYetSupportedError if isinstance(error, UnsupportedSubstitutionError) else BalenafileError
    )
    return kind(error.message, place.where, hint=error.hint)


def _split_flags(node: Node) -> tuple[dict[str, str], str]:
    """Take the `--name=value` words from the front of the arguments."""
    flags: dict[str, str] = {}
    rest = node.value
    # CMD and its like have no flags in Docker either: what follows belongs to the command.
    known = _FLAGS.get(node.keyword, frozenset())
    while rest.startswith("--") and node.keyword in _FLAGS:
        match = _FLAG.match(rest)
        if match is None:
            raise BalenafileError(f"{node.keyword} has a flag that cannot be read", node.where)
        name, value = match[1], match[2]
        if name in _FLAGS_NOT_YET.get(node.keyword, frozenset()):
            raise NotYetSupportedError(f"{node.keyword} --{name} is not supported yet", node.where)
        if name not in known:
            raise BalenafileError(
                f"{node.keyword} has no flag --{name}",
                node.where,
                hint=_suggestion(name, known, "--") or f"it takes {_listing(known)}",
            )
        if value is None:
            raise BalenafileError(
                f"--{name} needs a value", node.where, hint=f"write --{name}=VALUE"
            )
        if name in flags:
            raise BalenafileError(f"--{name} stands twice", node.where)
        flags[name] = value
        rest = rest[match.end() :]
    return flags, rest


def _unknown_instruction(node: Node) -> BalenafileError:
    known = [*_DECODERS, *NOT_YET]
    written = node.where.text.split()[0]
    shown = written if written.upper() == node.keyword else node.keyword
    return BalenafileError(
        f"{shown[:40]} is not an instruction",
        node.where,
        hint=_suggestion(node.keyword, known, "")
        or "a line that continues the one before needs a \\ at that line's end",
    )


def _suggestion(name: str, known: Iterable[str], prefix: str) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {prefix}{close[0]}?" if close else None


def _listing(flags: Iterable[str]) -> str:
    return ", ".join(f"--{flag}" for flag in sorted(flags))


def _well_formed(word: str) -> str:
    r"""Return `word` with half surrogate pairs (`"\ud800"` in JSON) as U+FFFD, as Go reads them."""
    return word.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
