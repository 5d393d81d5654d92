"""A workshop in a temporary directory, a stand-in for the npm client, and a look into images."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import sys
import tarfile

import pytest

from balenawasm.build.artifact_contexts import ArtifactNameError
from balenawasm.build.events import (
    BuildWarning,
    FetchDone,
    FetchStarted,
    StepDone,
    WorkStarted,
)
from balenawasm.build.filetree import walk
from balenawasm.build.image_build import BuildRequest, Workshop, build_image
from balenawasm.build.layered_tree import LayeredTree
from balenawasm.layer.image_layer import open_layer
from balenawasm.oci.reference import parse_reference
from balenawasm.store.store import Store
from balenawasm.toolchain.artifacts import digest_of


class FolderArtifacts:
    """Artifacts that are folders as they stand; tells which were asked for."""

    def __init__(self, root):
        self.root = root
        self.made = []

    def digest(self, name):
        if not (self.root / name).is_dir():
            raise ArtifactNameError(f"there is no artifact {name}", hint="there are others")
        return digest_of(self.root / name)

    def folder(self, name, progress):
        self.made.append(name)
        progress(WorkStarted(image=name, what=f"making {name}"))
        return self.root / name


class Builder:
    """A workshop, a context, and what its last build told."""

    def __init__(self, root):
        self.root = root
        self.context = root / "context"
        self.context.mkdir()
        self.recipes = root / "recipes"
        self.bin = root / "bin"
        self.bin.mkdir()
        self.store = Store(root / "store").open()
        self.events = []
        self.artifacts = FolderArtifacts(root / "artifacts")
        self.environment = {"PATH": str(self.bin), "HOME": str(root)}

    @property
    def workshop(self):
        return Workshop(
            store=self.store,
            build_cache=self.root / "cache" / "build",
            downloads=self.root / "cache" / "downloads",
            recipes=self.recipes,
            environment=self.environment,
            artifacts=self.artifacts,
        )

    def write(self, files, folder=None):
        """Write files into the context or another folder: text, bytes, or None: a directory."""
        for name, content in files.items():
            path = (folder or self.context) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir(exist_ok=True)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content)

    def recipe(self, name, text, **files):
        folder = self.recipes / name
        folder.mkdir(parents=True, exist_ok=True)
        self.write({"Balenafile": text, **files}, folder)

    def build(self, balenafile=None, *, name="test", **options):
        if balenafile is not None:
            self.write({"Balenafile": balenafile})
        self.events = []
        request = BuildRequest(
            context=options.pop("context", self.context),
            balenafile=options.pop("balenafile_path", None),
            reference=None if name is None else parse_reference(name),
            **options,
        )
        return build_image(request, self.workshop, self.events.append)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def cached(self):
        """For every step that made or found a layer: whether it was found."""
        return [event.cached for event in self.of(StepDone) if event.size is not None]

    @property
    def warnings(self):
        return [event.message for event in self.of(BuildWarning)]

    @property
    def fetches(self):
        return [event.what for event in self.of(FetchStarted)], len(self.of(FetchDone))

    def tree(self, image):
        layers = [open_layer(path).image for path in image.layer_paths]
        return LayeredTree("the image", layers, self.root)

    def files(self, image):
        """Everything in an image: path → content, link target, or "dir"."""
        tree = self.tree(image)
        found = {}
        for entry in walk(tree, b""):
            path = entry.path.decode()
            if stat.S_ISLNK(entry.mode):
                found[path] = f"-> {entry.target.decode()}"
            elif stat.S_ISDIR(entry.mode):
                found[path] = "dir"
            else:
                content = tree.content(entry.path)
                data = content if isinstance(content, bytes) else content.read_bytes()
                found[path] = data.decode()
        return found

    def only_files(self, image):
        return {path: text for path, text in self.files(image).items() if text != "dir"}

    def leftovers(self):
        """Unfinished files anywhere below the root."""
        return [path for path in self.root.rglob("*") if path.name.startswith(".tmp-")]


@pytest.fixture
def builder(tmp_path):
    return Builder(tmp_path)


FAKE_NPM = """#!{python}
import json, os, pathlib, shutil, sys
log = pathlib.Path({folder!r}) / "npm.log"
with log.open("a") as file:
    print(*sys.argv[1:], file=file)
assert sys.argv[1] == "pack" and "--json" in sys.argv
name = sys.argv[2].replace("@", "").replace("/", "-")
tarball = pathlib.Path({folder!r}) / (name + ".tgz")
if not tarball.exists():
    print(json.dumps({{"error": {{"code": "E404", "summary": "no such package " + sys.argv[2]}}}}))
    print("npm error code E404", file=sys.stderr)
    sys.exit(1)
shutil.copy(tarball, tarball.name)
print(json.dumps([{{"filename": sys.argv[2] + ".tgz"}}]))
"""


class FakeNpm:
    """An `npm` program that serves tarballs from a folder; everything else is the real thing."""

    def __init__(self, builder):
        self.folder = builder.root / "registry"
        self.folder.mkdir()
        program = builder.bin / "npm"
        program.write_text(FAKE_NPM.format(python=sys.executable, folder=str(self.folder)))
        program.chmod(0o755)

    def publish(self, package, files):
        """Make a package of path → (content, mode); returns its checksum as npm spells it."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            for name, (content, mode) in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = len(content), mode, 499162500
                archive.addfile(member, io.BytesIO(content))
        name = package.replace("@", "").replace("/", "-")
        (self.folder / f"{name}.tgz").write_bytes(data.getvalue())
        digest = hashlib.sha512(data.getvalue()).digest()
        return "sha512-" + base64.b64encode(digest).decode()

    @property
    def calls(self):
        log = self.folder / "npm.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def npm(builder):
    return FakeNpm(builder)


@pytest.fixture(autouse=True)
def _usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)
