from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest
from wat_guests import program, start

from balenawasm.atomicfile import TEMPORARY_PREFIX
from balenawasm.engine import code_cache, compiler
from balenawasm.engine.code_cache import CodeCache, CodeCacheError
from balenawasm.engine.compiler import CompileError, CompileProgress
from balenawasm.engine.program_file import InvalidModuleError, NotAProgramError
from balenawasm.vfs.node import Content

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = program(start("nop"))
INVALID = Content("test:invalid", memoryview(b"\0asm\x01\0\0\0\x0a\x05xxxxx"))


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of programs that really were compiled, in order."""
    names: list[str] = []
    real = compiler.compile_module

    def counted(source: int, target: int, name: str, **rest: object) -> object:
        names.append(name)
        return real(source, target, name, **rest)

    monkeypatch.setattr(code_cache, "compile_module", counted)
    return names


def files_below(root: Path) -> set[str]:
    """Everything but the locks and memos, relative."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.parent.name != "identities"
    }


# Keeping.


def test_compiled_once_per_module(cache: CodeCache, compilations: list[str]) -> None:
    first = cache.compiled(CONTENT)
    assert cache.compiled(CONTENT) == first
    assert cache.compiled(Content(None, CONTENT.data)) == first
    assert cache.compiled(Content("test:elsewhere", CONTENT.data)) == first
    assert CodeCache(first.parent.parent).compiled(CONTENT) == first
    assert len(compilations) == 1


def test_immutable_content_is_hashed_once(cache: CodeCache) -> None:
    """The memo on disk tells its sha256: the data is not even looked at."""
    path = cache.compiled(CONTENT)
    unreadable = Content(CONTENT.identity, memoryview(b"not looked at"))
    assert CodeCache(path.parent.parent).compiled(unreadable) == path


def test_changing_content_is_hashed_each_time(cache: CodeCache) -> None:
    data = bytearray(CONTENT.data)
    first = cache.compiled(Content(None, memoryview(data)))
    other = program(start("nop nop"), identity=None)
    data[:] = other.data
    assert cache.compiled(Content(None, memoryview(data))) != first


def test_damaged_memo_is_not_believed(cache: CodeCache, compilations: list[str]) -> None:
    path = cache.compiled(CONTENT)
    for memo in (path.parent.parent / "identities").iterdir():
        memo.write_text("../../../etc/passwd")
    assert CodeCache(path.parent.parent).compiled(CONTENT) == path
    assert len(compilations) == 1


def test_content_that_changes_while_it_is_compiled_cannot_pose_as_another(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is the digest of what was compiled, not of what was there before."""
    victim, attacker = program(start("nop")), program(start("unreachable"))
    data = bytearray(victim.data)
    assert len(attacker.data) == len(data)
    real = code_cache.check_preamble

    def swap(view: memoryview, name: str) -> None:
        real(view, name)
        data[:] = attacker.data

    monkeypatch.setattr(code_cache, "check_preamble", swap)
    path = cache.compiled(Content(None, memoryview(data)))
    monkeypatch.undo()
    assert path == cache.compiled(attacker)
    assert path != cache.compiled(victim)


def test_permissions_are_private(cache: CodeCache) -> None:
    before = os.umask(0)
    try:
        path = cache.compiled(CONTENT)
    finally:
        os.umask(before)
    root = path.parent.parent
    for found in (root, *root.rglob("*")):
        mode = stat.S_IMODE(found.stat().st_mode)
        assert mode == (0o700 if found.is_dir() else 0o600), found


# Trust.


def damage_size(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_mode(path: Path) -> None:
    path.chmod(0o620)


def replace_by_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def remove_check(path: Path) -> None:
    path.with_suffix(".check").unlink()


def garble_check(path: Path) -> None:
    path.with_suffix(".check").write_text("x")


def remove_native(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "harm",
    [damage_size, damage_mode, replace_by_link, remove_check, garble_check, remove_native],
)
def test_file_that_is_not_trusted_is_compiled_anew(
    cache: CodeCache, compilations: list[str], harm: object
) -> None:
    path = cache.compiled(CONTENT)
    harm(path)
    assert cache.compiled(CONTENT) == path
    assert len(compilations) == 2
    assert stat.S_ISREG(path.lstat().st_mode)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert cache.verify() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_compiled_anew(cache: CodeCache, compilations: list[str]) -> None:
    path = cache.compiled(CONTENT)
    os.chown(path, 12345, -1)
    cache.compiled(CONTENT)
    assert path.stat().st_uid == os.geteuid()
    assert len(compilations) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(CodeCacheError, match=r"belongs to another user \(uid 12345\)"):
        CodeCache(tmp_path).compiled(CONTENT)


def test_open_directory_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    CodeCache(tmp_path).compiled(CONTENT)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_verify_reads_everything(cache: CodeCache) -> None:
    good, bad = cache.compiled(CONTENT), cache.compiled(program(start("nop nop nop")))
    assert cache.verify() == []
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    assert cache.verify() == [bad]
    assert not bad.exists()
    assert good.exists()


# Refusing.


def test_invalid_module_is_explained_and_leaves_nothing(cache: CodeCache, tmp_path: Path) -> None:
    with pytest.raises(InvalidModuleError) as caught:
        cache.compiled(INVALID, name="tool.wasm")
    assert caught.value.message.startswith("tool.wasm is not a valid WebAssembly program: ")
    assert "function section is absent" in caught.value.message
    assert files_below(tmp_path) == set()


def test_component_and_others_are_refused_before_compiling(
    cache: CodeCache, compilations: list[str]
) -> None:
    with pytest.raises(NotAProgramError, match=r"WASI 0\.2 component"):
        cache.compiled(Content(None, memoryview(b"\0asm\x0d\0\x01\0")))
    with pytest.raises(NotAProgramError, match="is empty"):
        cache.compiled(Content("test:empty", memoryview(b"")))
    assert compilations == []


def test_unusable_directory_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CodeCacheError, match="cannot write native code to"):
        CodeCache(tmp_path / "file").compiled(CONTENT)


# The compiler process.


def test_progress_is_told(cache: CodeCache) -> None:
    steps: list[CompileProgress] = []
    cache.compiled(CONTENT, steps.append, name="tool.wasm")
    assert {step.name for step in steps} == {"tool.wasm"}
    assert {step.wasm_bytes for step in steps} == {len(CONTENT.data)}
    assert steps[-1].done
    assert not steps[0].done
    assert [step.elapsed for step in steps] == sorted(step.elapsed for step in steps)
    assert steps[0].expected is not None
    before = len(steps)
    cache.compiled(CONTENT, steps.append)
    assert len(steps) == before


def test_compiler_that_dies_is_explained(
    cache: CodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shot(subprocess.Popen):
        """Killed as the system does it for want of memory."""

        def __init__(self, command: list[str], **rest: object) -> None:
            super().__init__([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], **rest)

    monkeypatch.setattr(subprocess, "Popen", Shot)
    with pytest.raises(CompileError, match=r"killed while compiling tool.wasm.*want of memory"):
        cache.compiled(CONTENT, name="tool.wasm")
    assert files_below(tmp_path) == set()


def test_compiler_that_crashes_is_explained(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(subprocess.Popen):
        def __init__(self, command: list[str], **rest: object) -> None:
            super().__init__([sys.executable, "-c", "raise SystemExit('out of luck')"], **rest)

    monkeypatch.setattr(subprocess, "Popen", Broken)
    with pytest.raises(CompileError, match=r"status 1 while compiling .*: out of luck"):
        cache.compiled(CONTENT)


def test_progress_that_raises_stops_the_compiler(cache: CodeCache, tmp_path: Path) -> None:
    """So does Ctrl-C."""

    def interrupt(step: CompileProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.compiled(CONTENT, interrupt)
    assert files_below(tmp_path) == set()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert cache.compiled(CONTENT).exists()


def test_concurrent_requests_compile_once(cache: CodeCache, compilations: list[str]) -> None:
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(cache.compiled(CONTENT))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(paths)) == 1
    assert len(paths) == 6
    assert len(compilations) == 1


def test_concurrent_processes_compile_once(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        from pathlib import Path
        from balenawasm.engine.code_cache import CodeCache
        from balenawasm.engine.wat import wat_to_wasm
        from balenawasm.vfs.node import Content
        data = memoryview(wat_to_wasm("(module (func {"nop " * 2000}))"))
        steps = []
        CodeCache(Path({str(tmp_path)!r})).compiled(Content("test:many", data), steps.append)
        print("compiled" if any(step.done for step in steps) else "waited")
        """
    )
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=60)[0].strip() for process in running]
    assert sorted(answers) == ["compiled", "waited", "waited", "waited"]


def test_leftovers_of_killed_compilations_are_swept(cache: CodeCache) -> None:
    path = cache.compiled(CONTENT)
    leftover = path.parent / (TEMPORARY_PREFIX + "0123")
    leftover.touch()
    cache.compiled(program(start("nop nop nop nop")))
    assert not leftover.exists()


def test_unfinished_files_of_the_living_are_not_swept(cache: CodeCache) -> None:
    path = cache.compiled(CONTENT)
    unfinished = path.parent / (TEMPORARY_PREFIX + "4567")
    with contextlib.ExitStack() as stack:
        stack.enter_context(cache._in_use())
        unfinished.touch()
        cache.compiled(program(start("nop nop nop nop nop")))
        assert unfinished.exists()


FULL_DISK = """
import subprocess, sys
from pathlib import Path
from balenawasm.engine.code_cache import CodeCache, CodeCacheError
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.vfs.node import Content
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", root], check=True)
functions = "".join(f"(func (result i32) (i32.const {i}))" for i in range(9000))
data = memoryview(wat_to_wasm(f"(module {functions})"))
try:
    CodeCache(root).compiled(Content(None, data), name="large.wasm")
except CodeCacheError as error:
    assert "No space left on device" in error.message, error.message
    assert str(root) in error.message, error.message
    assert error.hint
else:
    raise AssertionError("the disk was not full")
left = [path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
assert not left, left
"""


def test_full_disk_is_explained_and_nothing_is_left(tmp_path: Path) -> None:
    """A small tmpfs in a mount namespace of its own is a real full disk."""
    namespace = ["unshare", "--mount", "--map-root-user"]
    allowed = subprocess.run(
        [*namespace, "mount", "-t", "tmpfs", "none", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if allowed.returncode != 0:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(
        [*namespace, sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
