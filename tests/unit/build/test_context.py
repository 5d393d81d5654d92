"""The build context: selecting sources, links, ignored files, digests."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from balenawasm.build.context import Context, ContextError, check_unchanged, content_digest
from balenawasm.build.filetree import SourceError, select
from balenawasm.build.ignore import IgnoreRules


@pytest.fixture
def tree(tmp_path):
    for name in ("src/app.py", "src/lib/a.py", "src/lib/b.txt", ".hidden", "server.py", "x y"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return tmp_path


def paths(sources):
    return [entry.path for source in sources for entry in source.entries]


def names(sources):
    return [source.name for source in sources]


class TestSelect:
    def test_a_file(self, tree):
        (source,) = select(Context(tree), "server.py")
        assert (source.name, source.path, source.is_directory) == (
            b"server.py",
            b"server.py",
            False,
        )
        assert source.entries[0].size == len("content of server.py")

    def test_a_directory_with_everything_below_in_order(self, tree):
        (source,) = select(Context(tree), "src/")
        assert paths([source]) == [b"", b"app.py", b"lib", b"lib/a.py", b"lib/b.txt"]

    @pytest.mark.parametrize("text", [".", "./", "/", "src/.."])
    def test_the_whole_context(self, tree, text):
        (source,) = select(Context(tree), text)
        assert source.name == b""
        assert b"src/lib/a.py" in paths([source])

    @pytest.mark.parametrize("text", ["/src/app.py", "./src//app.py", "src/../src/app.py"])
    def test_paths_count_from_the_context(self, tree, text):
        assert names(select(Context(tree), text)) == [b"app.py"]

    def test_wildcards(self, tree):
        context = Context(tree)
        assert names(select(context, "*.py")) == [b"server.py"]
        assert names(select(context, "*")) == [b".hidden", b"server.py", b"src", b"x y"]
        assert [s.path for s in select(context, "src/*/?.py")] == [b"src/lib/a.py"]
        assert [s.path for s in select(context, "s*/[al]*")] == [b"src/app.py", b"src/lib"]
        with pytest.raises(SourceError, match=r"matches \*\.c"):
            select(context, "*.c")

    @pytest.mark.parametrize("text", ["..", "../x", "src/../../x"])
    def test_outside_is_refused(self, tree, text):
        with pytest.raises(SourceError, match="outside of the build context"):
            select(Context(tree), text)

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("sever.py", "did you mean server.py?"),
            ("src/ap.py", "did you mean src/app.py?"),
            ("scr/app.py", "did you mean src/app.py?"),
            ("scr/nothing", "did you mean src?"),
            ("zzz", "the build context has .hidden, server.py, src, x y"),
            ("server.py/x", "server.py is not a directory"),
        ],
    )
    def test_a_missing_source_is_answered_with_a_near_name(self, tree, text, hint):
        with pytest.raises(SourceError, match=f"{text} is not in the build context") as caught:
            select(Context(tree), text)
        assert caught.value.hint == hint

    def test_names_that_are_not_utf8(self, tree):
        Path(os.fsdecode(os.fsencode(tree) + b"/\xff.bin")).write_bytes(b"x")
        assert names(select(Context(tree), "*.bin")) == [b"\xff.bin"]

    def test_sockets_are_refused(self, tree):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tree / "sock"))
            with pytest.raises(ContextError, match="sock is a socket"):
                select(Context(tree), ".")
            assert select(Context(tree, IgnoreRules(["sock"])), ".")

    def test_an_unreadable_directory_is_named(self, tree):
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        (tree / "src").chmod(0)
        with pytest.raises(ContextError, match="src: Permission denied"):
            select(Context(tree), "src")


class TestLinks:
    def test_a_named_link_is_followed_and_keeps_its_name(self, tree):
        (tree / "link").symlink_to("src/lib")
        (source,) = select(Context(tree), "link")
        assert (source.name, paths([source])) == (b"link", [b"", b"a.py", b"b.txt"])
        assert names(select(Context(tree), "link/*.py")) == [b"a.py"]

    def test_links_below_a_directory_stay_links(self, tree):
        (tree / "src/outside").symlink_to("/etc/passwd")
        (source,) = select(Context(tree), "src")
        link = next(entry for entry in source.entries if entry.path == b"outside")
        assert link.target == b"/etc/passwd"

    @pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "src/../../x"])
    def test_a_named_link_that_leads_out_is_refused(self, tree, target):
        (tree / "link").symlink_to(target)
        with pytest.raises(SourceError, match="leads out of the build context"):
            select(Context(tree), "link")

    def test_a_path_through_a_link_that_leads_out_is_refused(self, tree):
        (tree / "link").symlink_to("/etc")
        for text in ("link/passwd", "link/*"):
            with pytest.raises(SourceError, match="leads out"):
                select(Context(tree), text)

    def test_a_loop_is_refused(self, tree):
        (tree / "a").symlink_to("b")
        (tree / "b").symlink_to("a")
        with pytest.raises(SourceError, match="too many symbolic links"):
            select(Context(tree), "a")

    def test_the_context_itself_may_be_a_link(self, tree, tmp_path_factory):
        link = tmp_path_factory.mktemp("other") / "context"
        link.symlink_to(tree)
        assert select(Context(link), "server.py")


class TestIgnored:
    def test_ignored_files_are_not_there(self, tree):
        context = Context(tree, IgnoreRules(["**/*.txt", ".hidden"]))
        (source,) = select(context, ".")
        assert b"src/lib/b.txt" not in paths([source])
        assert names(select(context, "*")) == [b"server.py", b"src", b"x y"]
        with pytest.raises(SourceError) as caught:
            select(context, "src/lib/b.txt")
        assert caught.value.hint == "src/lib/b.txt is there, but .dockerignore excludes it"

    def test_a_directory_is_there_when_something_in_it_is_taken_back(self, tree):
        context = Context(tree, IgnoreRules(["*", "!src/lib/a.py"]))
        (source,) = select(context, ".")
        assert paths([source]) == [b"", b"src", b"src/lib", b"src/lib/a.py"]

    def test_a_directory_is_not_there_when_nothing_in_it_is_taken_back(self, tree):
        context = Context(tree, IgnoreRules(["*", "!**/*.c"]))
        (source,) = select(context, ".")
        assert paths([source]) == [b""]

    def test_a_link_is_not_looked_through_for_what_may_be_taken_back(self, tree):
        (tree / "loop").symlink_to(".")
        context = Context(tree, IgnoreRules(["*", "!**/*.c"]))
        assert paths(select(context, ".")) == [b""]


class TestDigest:
    def test_a_copy_has_the_same_digest_whatever_its_times(self, tree, tmp_path_factory):
        copy = tmp_path_factory.mktemp("copy") / "context"
        shutil.copytree(tree, copy)
        os.utime(copy / "server.py", (1, 1))
        one = content_digest(select(Context(tree), "."))
        assert content_digest(select(Context(copy), ".")) == one

    @pytest.mark.parametrize(
        "change",
        [
            lambda tree: (tree / "server.py").write_text("Content of server.py"),
            lambda tree: (tree / "server.py").chmod(0o755),
            lambda tree: (tree / "server.py").rename(tree / "server2.py"),
            lambda tree: (tree / "empty").mkdir(),
            lambda tree: (tree / "link").symlink_to("x"),
        ],
    )
    def test_every_change_of_content_changes_it(self, tree, change):
        before = content_digest(select(Context(tree), "."))
        change(tree)
        assert content_digest(select(Context(tree), ".")) != before

    def test_the_target_of_a_link_counts(self, tree):
        (tree / "link").symlink_to("a")
        before = content_digest(select(Context(tree), "."))
        (tree / "link").unlink()
        (tree / "link").symlink_to("b")
        assert content_digest(select(Context(tree), ".")) != before

    def test_the_name_counts_because_it_is_copied(self, tree):
        shutil.copy(tree / "server.py", tree / "copy.py")
        context = Context(tree)
        one, other = select(context, "server.py"), select(context, "copy.py")
        assert content_digest(one) != content_digest(other)

    def test_a_file_that_changes_meanwhile_is_noticed(self, tree):
        sources = select(Context(tree), ".")
        check_unchanged(sources)
        (tree / "src/app.py").write_text("longer than it was before")
        with pytest.raises(ContextError, match=r"src/app\.py changed"):
            check_unchanged(sources)
