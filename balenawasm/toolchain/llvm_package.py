"""LLVM as it comes: npm's `@yowasp/clang`, fetched by version and digest and unpacked once.

The package holds all of LLVM's programs as one WASI preview 1 module, `llvm.core.wasm`, which looks
at `argv[0]` to know which one to be, and a sysroot: clang's own headers, wasi-libc, libc++. It is
the artifact `llvm`: `llvm.wasm`, and the sysroot as `usr`.

Clang 22 is needed: older ones emit the legacy encoding of exceptions, which the engine refuses.
"""

from __future__ import annotations

import shutil
import tarfile
from typing import TYPE_CHECKING

from balenawasm.build.npm_source import NpmDownloads, NpmPackage, NpmTree, parse_checksum
from balenawasm.toolchain.archives import unpack_tar
from balenawasm.toolchain.artifacts import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from balenawasm.build.reporter import Reporter
    from balenawasm.digest import Digest
    from balenawasm.toolchain.artifacts import ArtifactCache
    from balenawasm.toolchain.provider import Toolchain

PACKAGE = "npm:@yowasp/clang@22.0.0-git20542-10#gen"
CHECKSUM = (
    "sha512-V31/z9GrJECKeACTDUyvg2llbEUiFi3bxtL5HSg7H"
    "/6sydSxdI/AoVAD9F5ozrfLjotWl0B9rghR87m+DUM/zg=="
)
NAME = "llvm"


def llvm_digest() -> Digest:
    """Return the digest that names the artifact."""
    return digest_of(PACKAGE, CHECKSUM, "1")


def llvm_package(cache: ArtifactCache, environment: Mapping[str, str]) -> Path:
    """Return the artifact's folder, fetched if it is missing; `environment` is what npm runs with.

    Raises NpmError, ToolchainError.
    """

    def make(folder: Path, reporter: Reporter) -> None:
        package = NpmPackage.parse(PACKAGE)
        downloads = NpmDownloads(cache.downloads, environment, reporter)
        tarball, _ = downloads.fetch(package, parse_checksum(CHECKSUM))
        scratch = folder / "scratch"
        scratch.mkdir()
        tree = NpmTree(package, tarball, scratch)
        tree.content(b"gen/llvm.core.wasm").rename(folder / "llvm.wasm")
        with tarfile.open(tree.content(b"gen/llvm-resources.tar")) as archive:
            unpack_tar(archive, folder / "usr")
        shutil.rmtree(scratch)

    return cache.obtain(NAME, llvm_digest(), make)


def llvm_artifact(toolchain: Toolchain) -> Path:
    """As `llvm_package`, for `toolchain.provider`."""
    return llvm_package(toolchain.cache, toolchain.environment)
