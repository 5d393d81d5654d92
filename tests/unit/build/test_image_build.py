"""Building images from small contexts into a real store."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys

import pytest

from balenawasm.balenafile.source import BalenafileError
from balenawasm.build.context import ContextError
from balenawasm.build.events import BuildDone, BuildStarted, StepDone, StepStarted
from balenawasm.build.image_build import BuildRequest, Workshop, build_image
from balenawasm.oci.config import ImageConfig
from balenawasm.oci.mediatypes import EXT4_LAYER
from balenawasm.oci.reference import parse_reference
from balenawasm.store.store import Store


class TestCopy:
    def test_a_directory_s_content_goes_to_the_working_directory(self, builder):
        builder.write({"src/server.py": "serve", "src/lib/a.py": "a"})
        image = builder.build("FROM scratch\nWORKDIR /app\nCOPY src .\n")
        assert builder.files(image) == {
            "app": "dir",
            "app/server.py": "serve",
            "app/lib": "dir",
            "app/lib/a.py": "a",
        }
        assert image.config.working_dir == "/app"

    @pytest.mark.parametrize(
        ("instruction", "expected"),
        [
            ("COPY a.txt /x", {"x": "A"}),
            ("COPY a.txt /x/", {"x/a.txt": "A"}),
            ("COPY a.txt x/y/z", {"x/y/z": "A"}),
            ("COPY a.txt .", {"a.txt": "A"}),
            ("COPY a.txt d /x/", {"x/a.txt": "A", "x/b.txt": "B"}),
            ("COPY *.txt /x/", {"x/a.txt": "A", "x/c.txt": "C"}),
            ('COPY ["a b.py", "/"]', {"a b.py": "AB"}),
            ("COPY d /x", {"x/b.txt": "B"}),
            ("COPY d/ /x/", {"x/b.txt": "B"}),
            ("COPY link /x", {"x": "A"}),
            ("COPY links /x/", {"x/up": "-> ../a.txt"}),
            ("ADD a.txt /x", {"x": "A"}),
        ],
    )
    def test_where_things_go(self, builder, instruction, expected):
        builder.write({"a.txt": "A", "c.txt": "C", "d/b.txt": "B", "a b.py": "AB", "links": None})
        (builder.context / "link").symlink_to("a.txt")
        (builder.context / "links/up").symlink_to("../a.txt")
        assert builder.only_files(builder.build(f"FROM scratch\n{instruction}\n")) == expected

    def test_a_file_goes_into_a_directory_of_the_layers_below(self, builder):
        builder.write({"a": "A", "b": "B"})
        image = builder.build("FROM scratch\nCOPY a /app/\nCOPY b /app\n")
        assert builder.only_files(image) == {"app/a": "A", "app/b": "B"}

    def test_links_of_the_image_are_followed(self, builder):
        builder.write({"root/usr/bin/x": "X", "tool": "T"})
        (builder.context / "root/bin").symlink_to("usr/bin")
        (builder.context / "root/opt").symlink_to("/var/opt")
        image = builder.build(
            "FROM scratch\nCOPY root /\nCOPY tool /bin/\nCOPY tool /opt/t\nWORKDIR /bin/sub\n"
        )
        assert builder.files(image) == {
            "bin": "-> usr/bin",
            "opt": "-> /var/opt",
            "usr": "dir",
            "usr/bin": "dir",
            "usr/bin/sub": "dir",
            "usr/bin/tool": "T",
            "usr/bin/x": "X",
            "var": "dir",
            "var/opt": "dir",
            "var/opt/t": "T",
        }

    def test_one_layer_for_each_instruction_that_changes_files(self, builder):
        builder.write({"a": "A"})
        image = builder.build(
            "FROM scratch\nENV A=1\nCOPY a /\nLABEL x=y\nWORKDIR /w\nWORKDIR /w\nEXPOSE 80\n"
        )
        assert len(image.manifest.layers) == 2
        assert {layer.media_type for layer in image.manifest.layers} == {EXT4_LAYER}
        assert [item.empty_layer for item in image.config.history] == [
            True,
            False,
            True,
            False,
            True,
            True,
        ]

    def test_modes_and_owners(self, builder):
        builder.write({"d/run.sh": "x", "d/data": "y", "passwd": "app:x:100:200::/:\n"})
        (builder.context / "d/run.sh").chmod(0o750)
        image = builder.build(
            "FROM scratch\nCOPY passwd /etc/passwd\nCOPY passwd /etc/group\n"
            "COPY d /kept\nCOPY --chmod=644 d /set\nCOPY --chown=7:8 d /numbers\n"
            "COPY --chown=app d/data /name\nCOPY --chown=root d/data /root\n"
        )
        tree = builder.tree(image)

        def entry(path):
            found = tree.lookup(path)
            return oct(stat.S_IMODE(found.mode)), found.uid, found.gid

        assert entry(b"kept/run.sh") == ("0o750", 0, 0)
        assert entry(b"kept") == ("0o755", 0, 0)
        assert entry(b"set/run.sh") == ("0o644", 0, 0)
        assert entry(b"numbers/data") == ("0o644", 7, 8)
        assert entry(b"numbers") == ("0o755", 7, 8)
        assert entry(b"name")[1:] == (100, 100)
        assert entry(b"root")[1:] == (0, 0)

    def test_a_parent_directory_keeps_its_attributes(self, builder):
        builder.write({"d/x": "x", "y": "y"})
        (builder.context / "d").chmod(0o700)
        image = builder.build("FROM scratch\nCOPY --chown=5:6 d /d\nCOPY y /d/\n")
        found = builder.tree(image).lookup(b"d")
        assert (stat.S_IMODE(found.mode), found.uid, found.gid) == (0o700, 5, 6)

    def test_a_large_file_is_copied_whole(self, builder):
        data = os.urandom(3_000_000)
        builder.write({"big": data})
        image = builder.build(
            "FROM scratch AS one\nCOPY big /\nFROM scratch\nCOPY --from=one /big /copy\n"
        )
        content = builder.tree(image).content(b"copy")
        assert content.read_bytes() == data


class TestRefusals:
    """What cannot be built is told with file, line and the source line, and nothing is named."""

    @pytest.mark.parametrize(
        ("instruction", "message", "hint"),
        [
            (
                "COPY sevrer.py .",
                "sevrer.py is not in the build context",
                "did you mean server.py?",
            ),
            ("COPY ../x .", "lies outside of the build context", "move it below"),
            ("COPY out .", "leads out of the build context", "copy what it points to"),
            ("COPY server.py d /x", "several sources need a directory", "write /x/"),
            ("COPY [sd]* /x", "several files match, and /x is not a directory", "slash"),
            ("COPY [a /x", "bracket without an end", None),
            ("COPY d /etc/hosts/x", "/etc/hosts is a file", None),
            ("COPY server.py /etc/hosts/", "/etc/hosts is a file", None),
            ("COPY d /etc/hosts", "/etc/hosts is a file", None),
            ("COPY hosts /", "cannot put the directory hosts/etc at /etc: there is a file", None),
            ("WORKDIR /etc/hosts/x", "/etc/hosts is a file", None),
            ("COPY --chown=nobody server.py /", "no user 'nobody'", "number"),
            ("COPY --from=nothing /x /", "no image 'nothing:latest'", None),
            ("ADD https://host.example/x /", "is not supported yet", "build context"),
            ("ADD git@host.example:x.git /", "is not supported yet", "build context"),
            ("ADD bundle.tar.gz /", "unpacking with ADD is not supported yet", "COPY"),
            ("ADD --checksum=sha256:0 server.py /", "for sources that are downloaded", None),
            ("ADD npm:x /", "npm:x is not an npm source", "exact version"),
            ("CMD server | tee log", "no /bin/sh", "JSON form"),
        ],
    )
    def test_it_is_told_where(self, builder, instruction, message, hint):
        builder.write({"server.py": "x", "d/f": "y", "etc/hosts": "h", "hosts/etc/x": "z"})
        (builder.context / "out").symlink_to("/etc/passwd")
        subprocess.run(
            ["tar", "czf", "bundle.tar.gz", "server.py"], cwd=builder.context, check=True
        )
        top = "FROM scratch\nCOPY etc /etc\n"
        if "hosts/etc" in message:
            top = "FROM scratch\nCOPY etc/hosts /etc\n"
        with pytest.raises(BalenafileError) as caught:
            builder.build(f"{top}{instruction}\n")
        assert message in caught.value.message
        assert "Balenafile:3:" in caught.value.message
        assert f"    3 | {instruction}" in caught.value.message
        if hint:
            assert hint in caught.value.hint
        assert builder.store.images.list() == []
        assert builder.leftovers() == []

    def test_a_missing_base_image_is_answered_with_near_names(self, builder):
        builder.recipe("python", "FROM scratch\n")
        builder.build("FROM scratch\n", name="acme/base")
        for wrong, right in (("balenaos/pyton", "balenaos/python"), ("acme/bas", "acme/base")):
            with pytest.raises(BalenafileError, match="Balenafile:1: no image") as caught:
                builder.build(f"FROM {wrong}\n")
            assert f"did you mean {right}:latest?" in caught.value.hint

    @pytest.mark.parametrize(
        ("wrong", "hint"),
        [
            ("python:3.12", "did you mean balenaos/python:latest? Docker's images do not run here"),
            ("x/python", "did you mean balenaos/python:latest? Docker's images do not run here"),
            ("balenaos/python:3.12", "did you mean balenaos/python:latest?"),
            ("acme/base:2", "did you mean acme/base:latest?"),
            ("redis", "`balenawasm image ls` lists the images"),
        ],
    )
    def test_what_could_have_been_meant(self, builder, wrong, hint):
        builder.recipe("python", "FROM scratch\n")
        for name in ("acme/base", "t/tls"):
            builder.build("FROM scratch\n", name=name)
        with pytest.raises(BalenafileError) as caught:
            builder.build(f"FROM {wrong}\n")
        assert caught.value.hint == hint

    def test_an_image_for_real_machines_is_refused(self, builder):
        config = ImageConfig(architecture="amd64", os="linux")
        builder.store.images.put(parse_reference("debian"), config, [])
        with pytest.raises(BalenafileError, match="made for linux/amd64"):
            builder.build("FROM debian\n")

    def test_the_context_must_be_a_directory(self, builder):
        with pytest.raises(ContextError, match="is not a directory"):
            builder.build(context=builder.root / "none")

    def test_a_missing_balenafile_is_named(self, builder):
        with pytest.raises(BalenafileError, match=r"cannot read .*Balenafile"):
            builder.build()

    def test_a_failed_build_leaves_the_name_as_it_was(self, builder):
        builder.write({"a": "A"})
        before = builder.build("FROM scratch\nCOPY a /\n")
        with pytest.raises(BalenafileError):
            builder.build("FROM scratch\nCOPY a /b\nCOPY none /\n")
        assert builder.store.images.get(parse_reference("test")).digest == before.digest

    def test_a_corrupt_base_layer_is_told(self, builder):
        from balenawasm.errors import BalenaWasmError

        builder.write({"a": "A"})
        base = builder.build("FROM scratch\nCOPY a /\n", name="base")
        base.layer_paths[0].chmod(0o644)
        base.layer_paths[0].write_bytes(b"not ext4" * 1000)
        with pytest.raises(BalenaWasmError, match=str(base.layer_paths[0])):
            builder.build("FROM base\nCOPY a /b\n")


class TestSettings:
    def test_everything_that_is_set(self, builder):
        image = builder.build(
            "ARG TOP=t\nFROM scratch\nARG TOP\nARG V=1\nENV A=$V B=${TOP}x\nENV A=2 C=$A\n"
            "LABEL a.b=c d=$B\nEXPOSE 80 53/udp 8000-8001\nVOLUME /data logs\nWORKDIR /a\n"
            'WORKDIR b\nENTRYPOINT ["/bin/x"]\nCMD ["y", "$A"]\n',
            build_args={"V": "9"},
        )
        config = image.config
        assert config.environment == {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "A": "2",
            "B": "tx",
            "C": "9",
        }
        assert config.labels == {"a.b": "c", "d": "tx"}
        assert config.exposed_ports == ("53/udp", "80/tcp", "8000/tcp", "8001/tcp")
        assert config.volumes == ("/data", "/logs")
        assert config.working_dir == "/a/b"
        assert (config.entrypoint, config.cmd) == (("/bin/x",), ("y", "$A"))
        assert builder.warnings == []

    def test_settings_are_inherited(self, builder):
        builder.build(
            'FROM scratch\nENV A=1\nWORKDIR /w\nEXPOSE 80\nLABEL l=1\nCMD ["c"]\n', name="base"
        )
        config = builder.build("FROM base\nENV B=2\nEXPOSE 90\nLABEL m=1\n").config
        assert (config.environment["A"], config.environment["B"]) == ("1", "2")
        assert config.exposed_ports == ("80/tcp", "90/tcp")
        assert config.labels == {"l": "1", "m": "1"}
        assert (config.working_dir, config.cmd) == ("/w", ("c",))
        assert len(config.history) == 8

    def test_entrypoint_takes_an_inherited_cmd_away(self, builder):
        builder.build('FROM scratch\nENTRYPOINT ["e"]\nCMD ["c"]\n', name="base")
        assert builder.build('FROM base\nENTRYPOINT ["f"]\n').config.cmd == ()
        config = builder.build('FROM base\nCMD ["d"]\nENTRYPOINT ["f"]\n').config
        assert (config.entrypoint, config.cmd) == (("f",), ("d",))
        assert builder.build("FROM base\nENTRYPOINT []\n").config.entrypoint == ()

    def test_a_shell_form_needs_a_shell_only_for_what_shells_do(self, builder):
        assert builder.build("FROM scratch\nCMD python server.py -p 3000\n").config.cmd == (
            "python",
            "server.py",
            "-p",
            "3000",
        )
        builder.write({"sh": "x", "root/usr/bin/busybox": "x"})
        (builder.context / "root/bin").symlink_to("usr/bin")
        (builder.context / "root/usr/bin/sh").symlink_to("busybox")
        config = builder.build("FROM scratch\nCOPY root /\nCMD a && b $HOME\n").config
        assert config.cmd == ("/bin/sh", "-c", "a && b $HOME")
        config = builder.build("FROM scratch\nCOPY sh /bin/\nENTRYPOINT a b\n").config
        assert config.entrypoint == ("/bin/sh", "-c", "a b")

    def test_a_time_is_written_only_when_it_is_given(self, builder):
        assert builder.build("FROM scratch\n").config.created is None
        image = builder.build("FROM scratch\n", source_date_epoch=86400)
        assert image.config.created == "1970-01-02T00:00:00Z"

    def test_labels_of_the_caller_are_added(self, builder):
        image = builder.build("FROM scratch\nLABEL a=1\n", labels={"b": "2"})
        assert image.config.labels == {"a": "1", "b": "2"}

    def test_an_unused_build_argument_and_a_platform_are_warned_about(self, builder):
        builder.build("FROM --platform=linux/arm64 scratch\n", build_args={"X": "1"})
        platform, argument = builder.warnings
        assert "--platform has no effect" in platform
        assert "the build argument X is not used" in argument


class TestStages:
    def test_files_are_copied_from_stages_and_images(self, builder):
        builder.write({"a": "A", "b": "B"})
        builder.build("FROM scratch\nCOPY b /img/b\nWORKDIR /img\n", name="other")
        image = builder.build(
            "FROM scratch AS build\nCOPY a /out/a\nCOPY a /out/sub/a\n"
            "FROM scratch\nCOPY --from=build /out /app\nCOPY --from=0 /out/a /zero\n"
            "COPY --from=other /img/* /other/\nCOPY --from=build /*/s* /sub/\n"
        )
        assert builder.only_files(image) == {
            "app/a": "A",
            "app/sub/a": "A",
            "zero": "A",
            "other/b": "B",
            "sub/a": "A",
        }

    def test_absolute_links_in_a_stage_count_from_its_root(self, builder):
        builder.write({"root/real/x": "X"})
        (builder.context / "root/link").symlink_to("/../real")
        image = builder.build(
            "FROM scratch AS one\nCOPY root /\nFROM scratch\nCOPY --from=one /link/x /y\n"
        )
        assert builder.only_files(image) == {"y": "X"}

    def test_a_missing_file_in_a_stage_is_told(self, builder):
        builder.write({"a": "A"})
        with pytest.raises(BalenafileError, match="/outt is not in the files of one") as caught:
            builder.build(
                "FROM scratch AS one\nCOPY a /out\nFROM scratch\nCOPY --from=one /outt /\n"
            )
        assert caught.value.hint == "did you mean out?"

    def test_a_stage_starts_from_an_earlier_one(self, builder):
        builder.write({"a": "A", "b": "B"})
        image = builder.build("FROM scratch AS base\nENV X=1\nCOPY a /\nFROM base\nCOPY b /\n")
        assert builder.only_files(image) == {"a": "A", "b": "B"}
        assert image.config.environment["X"] == "1"

    def test_only_what_the_target_needs_is_built(self, builder):
        builder.write({"a": "A"})
        image = builder.build(
            "FROM nothing AS unused\nFROM scratch AS wanted\nCOPY a /\nFROM unused\n",
            target="wanted",
        )
        assert builder.only_files(image) == {"a": "A"}
        with pytest.raises(BalenafileError, match="has no stage 'wnated'"):
            builder.build(target="wnated")


class TestCache:
    BALENAFILE = "FROM scratch\nENV A=1\nWORKDIR /w\nCOPY src .\nCOPY other /o\n"

    @pytest.fixture(autouse=True)
    def _files(self, builder):
        builder.write({"src/a": "A", "other": "O"})

    def test_a_second_build_makes_nothing(self, builder):
        first = builder.build(self.BALENAFILE)
        assert builder.cached == [False, False, False]
        assert builder.build().digest == first.digest
        assert builder.cached == [True, True, True]

    def test_a_changed_file_misses_from_there_on(self, builder):
        first = builder.build(self.BALENAFILE)
        builder.write({"src/a": "B"})
        second = builder.build()
        assert builder.cached == [True, False, False]
        assert second.digest != first.digest
        assert builder.only_files(second)["w/a"] == "B"
        builder.write({"src/a": "A"})
        assert builder.build().digest == first.digest
        assert builder.cached == [True, True, True]

    def test_settings_do_not_matter_to_files(self, builder):
        builder.build(self.BALENAFILE)
        builder.build(self.BALENAFILE.replace("A=1", "A=2"))
        assert builder.cached == [True, True, True]

    def test_times_do_not_matter(self, builder):
        first = builder.build(self.BALENAFILE)
        os.utime(builder.context / "other", (1, 1))
        assert builder.build().digest == first.digest

    def test_a_workdir_that_is_there_is_known_to_make_nothing(self, builder):
        builder.build("FROM scratch\nWORKDIR /w\nWORKDIR /w\n")
        builder.build()
        done = builder.of(StepDone)
        assert [(event.size is None, event.cached) for event in done[1:]] == [
            (False, True),
            (True, True),
        ]

    def test_no_cache_makes_everything_again(self, builder):
        first = builder.build(self.BALENAFILE)
        assert builder.build(no_cache=True).digest == first.digest
        assert builder.cached == [False, False, False]

    def test_a_layer_that_is_gone_is_made_again(self, builder):
        first = builder.build(self.BALENAFILE)
        builder.store.blobs.remove(first.manifest.layers[1].digest)
        assert builder.build().digest == first.digest
        assert builder.cached == [True, False, True]

    def test_a_damaged_entry_is_a_miss(self, builder):
        first = builder.build(self.BALENAFILE)
        for path in (builder.root / "cache" / "build").iterdir():
            if path.is_file():
                path.write_bytes(b'{"layer":5}')
        assert builder.build().digest == first.digest
        assert builder.cached == [False, False, False]

    def test_the_cache_may_be_deleted(self, builder):
        first = builder.build(self.BALENAFILE)
        shutil.rmtree(builder.root / "cache")
        assert builder.build().digest == first.digest

    def test_unfinished_files_of_killed_builds_are_swept(self, builder):
        builder.build(self.BALENAFILE)
        (builder.root / "cache/build/.tmp-dead").write_text("x")
        (builder.root / "cache/build/.tmp-scratch").mkdir()
        (builder.root / "cache/build/.tmp-scratch/npm-0").write_text("x")
        (builder.root / "store/blobs/sha256/.tmp-dead").write_text("x")
        builder.build()
        assert builder.leftovers() == []


class TestDeterminism:
    def test_a_copied_tree_gives_the_same_image_in_another_store(self, builder, tmp_path):
        builder.write({"src/a": "A", "src/d/b": "B", "src/empty": None})
        (builder.context / "src/link").symlink_to("a")
        first = builder.build("FROM scratch\nWORKDIR /app\nCOPY . .\nLABEL b=1 a=2\n")
        copy = tmp_path / "copy"
        shutil.copytree(builder.context, copy, symlinks=True)
        for directory in (copy / "src", copy / "src/d", copy):
            os.utime(directory, (12345, 67890))
        os.utime(copy / "src/a", ns=(1, (copy / "src/a").stat().st_mtime_ns // 10**9 * 10**9))
        workshop = Workshop(
            store=Store(tmp_path / "store2").open(),
            build_cache=tmp_path / "cache2",
            downloads=tmp_path / "downloads2",
            recipes=None,
            environment={},
        )
        second = build_image(
            BuildRequest(context=copy, reference=parse_reference("test")), workshop
        )
        assert second.digest == first.digest
        assert [layer.digest for layer in second.manifest.layers] == [
            layer.digest for layer in first.manifest.layers
        ]

    def test_times_are_kept_and_capped(self, builder):
        builder.write({"a": "A", "b": "B"})
        os.utime(builder.context / "a", ns=(0, 5_000_000_123))
        os.utime(builder.context / "b", (0, 100))
        text = "FROM scratch\nCOPY a b /\n"
        tree = builder.tree(builder.build(text))
        assert tree.lookup(b"a").mtime_ns == 5_000_000_000
        assert tree.lookup(b"b").mtime_ns == 100_000_000_000
        tree = builder.tree(builder.build(text, source_date_epoch=50))
        assert tree.lookup(b"a").mtime_ns == 5_000_000_000
        assert tree.lookup(b"b").mtime_ns == 50_000_000_000


class TestEvents:
    def test_steps_are_counted_and_shown_as_written(self, builder):
        builder.write({"a": "A"})
        image = builder.build("FROM scratch\n# comment\nCOPY a \\\n  /x\nCMD x\n")
        assert builder.of(BuildStarted)[0].total == 3
        assert [(event.number, event.text) for event in builder.of(StepStarted)] == [
            (1, "FROM scratch"),
            (2, "COPY a …"),
            (3, "CMD x"),
        ]
        done = builder.of(StepDone)
        assert [event.number for event in done] == [1, 2, 3]
        assert [event.size is None for event in done] == [True, False, True]
        assert done[1].size == image.manifest.layers[0].size
        (end,) = builder.of(BuildDone)
        assert (end.digest, end.layers, end.size) == (image.digest, 1, image.size)
        assert {event.image for event in builder.events} == {"test:latest"}

    def test_an_image_without_a_name_is_called_like_its_directory(self, builder):
        image = builder.build("FROM scratch\n", name=None)
        assert image.reference is None
        assert builder.of(BuildDone)[0].image == "context"
        builder.build(name=None)
        assert len(builder.store.images.list()) == 1


def test_ignored_files_are_not_copied(builder):
    builder.write({"a": "A", "b.log": "B", ".dockerignore": "*.log\nBalenafile\n.dockerignore\n"})
    assert builder.only_files(builder.build("FROM scratch\nCOPY . /\n")) == {"a": "A"}
    builder.write({"Balenafile.dockerignore": "*\n!b.log\n"})
    assert builder.only_files(builder.build()) == {"b.log": "B"}


def test_a_balenafile_elsewhere(builder):
    builder.write({"a": "A"})
    elsewhere = builder.root / "Other"
    elsewhere.write_text("FROM scratch\nCOPY a none /\n")
    with pytest.raises(BalenafileError, match="Other:2: none is not in"):
        builder.build(balenafile=None, balenafile_path=elsewhere)


def test_an_interrupt_leaves_nothing_half_written(builder):
    builder.write({"a": "A", "b": "B"})
    builder.write({"Balenafile": "FROM scratch\nCOPY a /\nCOPY b /\n"})

    def interrupt(event):
        if isinstance(event, StepStarted) and event.number == 3:
            raise KeyboardInterrupt

    request = BuildRequest(context=builder.context, reference=parse_reference("test"))
    with pytest.raises(KeyboardInterrupt):
        build_image(request, builder.workshop, interrupt)
    assert builder.store.images.list() == []
    assert builder.leftovers() == []
    builder.build()
    assert builder.cached == [True, False]


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(builder):
    """A small tmpfs in a mount namespace of its own is a real full disk."""
    script = """
import subprocess, sys
from pathlib import Path
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", root], check=True)
from balenawasm.build.image_build import BuildRequest, Workshop, build_image
from balenawasm.oci.reference import parse_reference
from balenawasm.store.errors import StoreFullError
from balenawasm.store.store import Store
store = Store(root / "store").open()
workshop = Workshop(store=store, build_cache=root / "cache", downloads=root / "downloads",
                    recipes=None, environment={})
try:
    build_image(BuildRequest(context=Path(sys.argv[2]), reference=parse_reference("x")), workshop)
except StoreFullError as error:
    assert str(root) in error.message, error.message
else:
    raise AssertionError("it fitted")
assert store.images.list() == []
assert not list(root.rglob(".tmp-*")), list(root.rglob(".tmp-*"))
assert not store.blobs.list()
print("done")
"""
    builder.write({"big": os.urandom(3 << 20), "Balenafile": "FROM scratch\nCOPY big /\n"})
    root = builder.root / "small"
    root.mkdir()
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.call([*namespace, "true"]):
        pytest.skip("this machine gives no mount namespace")
    result = subprocess.run(
        [*namespace, sys.executable, "-c", script, str(root), str(builder.context)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "done\n", result.stderr
