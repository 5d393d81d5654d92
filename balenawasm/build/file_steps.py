"""COPY, ADD and WORKDIR: the instructions that make a layer.

Each is described by its key before any file is written: on a hit in the build cache no layer is
even opened.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.balenafile.instructions import Add, Copy
from balenawasm.build.artifact_contexts import artifact_name
from balenawasm.build.context import Context, check_unchanged, content_digest
from balenawasm.build.draft import Attributes, LayerDraft
from balenawasm.build.errors import InstructionError
from balenawasm.build.filetree import FileTree, Source, SourceError, select
from balenawasm.build.layer_step import StepResult, layer_step
from balenawasm.build.npm_source import (
    PREFIX,
    NpmPackage,
    NpmTree,
    checksum_text,
    parse_checksum,
)
from balenawasm.build.ownership import resolve_owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.build.workbench import BuiltStage, Workbench
    from balenawasm.disk.entry import Entry
    from balenawasm.oci.descriptor import Descriptor
    from balenawasm.oci.document import Json

_REMOTE = re.compile(r"(?:[a-z][a-z0-9+.-]*://|git@)", re.IGNORECASE)
_ZSTD_TAR = re.compile(rb"\.(?:tar\.zst|tzst)\Z", re.IGNORECASE)


class NotYetError(InstructionError):
    """Docker can do this, balenawasm cannot yet."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where files go: an absolute path, and whether it is written as a directory (`x/`, `.`)."""

    path: str
    into: bool

    @classmethod
    def parse(cls, text: str, working_dir: str) -> Destination:
        """Read the last word of COPY; a relative one counts from the working directory."""
        into = text.endswith("/") or posixpath.basename(text) in (".", "..")
        return cls(absolute(text, working_dir), into)


def absolute(path: str, working_dir: str) -> str:
    """Return a clean absolute path; a relative one counts from the working directory."""
    joined = posixpath.join("/", working_dir, path)
    return "/" + posixpath.normpath(joined).lstrip("/")


class FileSteps:
    """The three instructions over one workbench."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def workdir(self, layers: Sequence[Descriptor], path: str) -> StepResult:
        """Make a directory unless it is there."""

        def make() -> list[Entry] | None:
            draft = LayerDraft(self._tree(layers))
            return draft.entries if draft.make_directory(path.encode()) else None

        return layer_step(self._bench, layers, {"workdir": path}, make)

    def copy(
        self, layers: Sequence[Descriptor], copy: Copy, working_dir: str, origin: BuiltStage | None
    ) -> StepResult:
        """Copy from the context, or with `origin` from a stage or an image."""
        members, destination = self._members(copy, working_dir)
        if origin is None:
            return self._copy_context(layers, copy, members, destination, copy.sources)
        members["from"] = [layer.digest for layer in origin.layers]

        def make() -> list[Entry]:
            tree = self._bench.tree(origin.layers, f"the files of {copy.from_stage}")
            sources = [source for text in copy.sources for source in select(tree, text)]
            return self._place(layers, copy, destination, sources)

        return layer_step(self._bench, layers, members, make)

    def copy_artifact(
        self, layers: Sequence[Descriptor], copy: Copy, working_dir: str
    ) -> StepResult:
        """Copy from an artifact, which is made first if it is missing."""
        bench = self._bench
        name = artifact_name(copy.from_stage) or ""
        members, destination = self._members(copy, working_dir)
        members["artifact"] = bench.artifacts.digest(name)

        def make() -> list[Entry]:
            folder = bench.artifacts.folder(name, bench.reporter.progress)
            tree = Context(folder, title=f"the artifact {name}")
            sources = [source for text in copy.sources for source in select(tree, text)]
            return self._place(layers, copy, destination, sources)

        return layer_step(bench, layers, members, make)

    def add(self, layers: Sequence[Descriptor], add: Add, working_dir: str) -> StepResult:
        """Copy from the context or from npm packages."""
        remote = [text for text in add.sources if _REMOTE.match(text)]
        if remote:
            raise NotYetError(
                f"ADD of {remote[0]} is not supported yet",
                hint="download it into the build context, or use npm:NAME@VERSION#PATH",
            )
        members, destination = self._members(add, working_dir)
        if any(text.startswith(PREFIX) for text in add.sources):
            return self._add_npm(layers, add, members, destination)
        if add.checksum is not None:
            raise SourceError(
                "--checksum is for sources that are downloaded, such as npm:NAME@VERSION#PATH"
            )
        return self._copy_context(layers, add, members, destination, add.sources)

    def _copy_context(
        self,
        layers: Sequence[Descriptor],
        instruction: Copy | Add,
        members: dict[str, Json],
        destination: Destination,
        words: Sequence[str],
    ) -> StepResult:
        sources = [source for text in words for source in select(self._bench.context, text)]
        if isinstance(instruction, Add):
            _refuse_archives(sources)
        members["content"] = content_digest(sources)

        def make() -> list[Entry]:
            return self._place(layers, instruction, destination, sources)

        return layer_step(self._bench, layers, members, make, lambda: check_unchanged(sources))

    def _add_npm(
        self,
        layers: Sequence[Descriptor],
        add: Add,
        members: dict[str, Json],
        destination: Destination,
    ) -> StepResult:
        if len(add.sources) > 1:
            raise NotYetError("ADD takes one npm source", hint="write one ADD for each")
        bench = self._bench
        package = NpmPackage.parse(add.sources[0])
        expected = None if add.checksum is None else parse_checksum(add.checksum)
        if expected is None:
            _, expected = bench.downloads.fetch(package, None)
            bench.reporter.warn(
                f"npm:{package} is not pinned: whoever controls the registry decides what is built",
                f"write ADD --checksum={checksum_text(expected)} …",
            )
        members |= {"npm": str(package), "path": package.path, "sha512": expected}

        def make() -> list[Entry]:
            tarball, _ = bench.downloads.fetch(package, expected)
            tree: FileTree = NpmTree(package, tarball, bench.scratch)
            return self._place(layers, add, destination, select(tree, package.path))

        return layer_step(self._bench, layers, members, make)

    def _members(
        self, instruction: Copy | Add, working_dir: str
    ) -> tuple[dict[str, Json], Destination]:
        """Return what a transfer's key always has, and the destination."""
        destination = Destination.parse(instruction.destination, working_dir)
        if len(instruction.sources) > 1 and not destination.into:
            raise SourceError(
                f"several sources need a directory to go to, and {instruction.destination}"
                " is not written as one",
                hint=f"write {instruction.destination}/",
            )
        members: dict[str, Json] = {
            "sources": list(instruction.sources),
            "destination": destination.path,
            "into": destination.into,
            "mode": instruction.mode,
            "owner": instruction.chown,
            "latest": self._bench.latest,
        }
        return members, destination

    def _place(
        self,
        layers: Sequence[Descriptor],
        instruction: Copy | Add,
        destination: Destination,
        sources: Sequence[Source],
    ) -> list[Entry]:
        tree = self._tree(layers)
        uid, gid = resolve_owner(instruction.chown, tree)
        attributes = Attributes(mode=instruction.mode, uid=uid, gid=gid, latest=self._bench.latest)
        path = destination.path.encode(errors="surrogateescape")
        draft = LayerDraft(tree, attributes)
        into = destination.into
        if len(sources) > 1 and not into:
            into = True
            draft.check_directory(path)
        for source in sources:
            draft.place(source, path, into=into)
        return draft.entries

    def _tree(self, layers: Sequence[Descriptor]) -> FileTree:
        return self._bench.tree(layers, "the image so far")


def _refuse_archives(sources: Sequence[Source]) -> None:
    """Docker's ADD unpacks tar archives; until ours does, copying one as it is would mislead."""
    for source in sources:
        if source.is_directory:
            continue
        content = source.tree.content(source.path)
        is_archive = isinstance(content, Path) and tarfile.is_tarfile(content)
        if is_archive or _ZSTD_TAR.search(source.name):
            raise NotYetError(
                f"{source.name.decode(errors='replace')} is a tar archive:"
                " unpacking with ADD is not supported yet",
                hint="unpack it in the build context and COPY the files,"
                " or COPY the archive to keep it packed",
            )
