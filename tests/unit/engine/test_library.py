from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from balenawasm.engine import library
from balenawasm.engine.library import EngineError, find_library
from balenawasm.engine.wat import wat_to_wasm

if TYPE_CHECKING:
    from pathlib import Path


def test_structures_are_those_of_the_wheel() -> None:
    """The wheel's own ctypes declarations are the reference for the same shared library."""
    bindings = pytest.importorskip("wasmtime._bindings")
    for ours, theirs in {
        library.ByteVec: bindings.wasm_byte_vec_t,
        library.PointerVec: bindings.wasm_frame_vec_t,
        library.Func: bindings.wasmtime_func_t,
        library.Memory: bindings.wasmtime_memory_t,
        library.Global: bindings.wasmtime_global_t,
        library.Extern: bindings.wasmtime_extern_t,
        library.Instance: bindings.wasmtime_instance_t,
    }.items():
        assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)
        assert ctypes.alignment(ours) == ctypes.alignment(theirs)
    assert library.Extern.of.offset == bindings.wasmtime_extern_t.of.offset
    assert ctypes.sizeof(bindings.wasmtime_val_raw_t) == library.VAL_RAW_SIZE
    from wasmtime import _ffi

    assert _ffi.WASMTIME_EXTERN_FUNC.value == library.EXTERN_FUNC
    assert _ffi.WASMTIME_EXTERN_MEMORY.value == library.EXTERN_MEMORY


def test_prototypes_are_those_of_the_wheel() -> None:
    """As many arguments each, of the same size, and the same size of result."""
    bindings = pytest.importorskip("wasmtime._bindings")
    for name, (result, arguments) in {**library._KEEPS_GIL, **library._RELEASES_GIL}.items():
        theirs = getattr(bindings.dll, name)
        assert len(theirs.argtypes) == len(arguments), name
        for ours, reference in zip(arguments, theirs.argtypes, strict=True):
            assert ctypes.sizeof(ours) == ctypes.sizeof(reference), name
        if result is None:
            assert theirs.restype is None, name
        else:
            assert ctypes.sizeof(result) == ctypes.sizeof(theirs.restype), name


def test_the_wheels_package_is_not_imported() -> None:
    code = "import sys, balenawasm.engine.machine; sys.exit('wasmtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def install(directory: Path, version: str, machine: str | None = None) -> None:
    package = directory / "wasmtime"
    package.mkdir()
    (package / "__init__.py").touch()
    (directory / f"wasmtime-{version}.dist-info").mkdir()
    if machine:
        (package / f"linux-{machine}").mkdir()
        (package / f"linux-{machine}" / "_libwasmtime.so").touch()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty place to import from."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def test_missing_wheel_says_how_to_install_it(site: Path) -> None:
    with pytest.raises(EngineError, match="not installed") as caught:
        find_library()
    assert caught.value.hint == "pip install wasmtime==50.0.1"


def test_other_version_is_refused(site: Path) -> None:
    install(site, "49.0.0", library.machine_name())
    with pytest.raises(EngineError, match=r"is 49\.0\.0; only 50\.0\.1 fits"):
        find_library()


def test_wheel_of_another_machine_is_refused(site: Path) -> None:
    install(site, library.WASMTIME_VERSION, "riscv64")
    with pytest.raises(EngineError, match="not for this machine"):
        find_library()


def test_library_is_found_by_machine(site: Path) -> None:
    install(site, library.WASMTIME_VERSION, library.machine_name())
    assert find_library().is_relative_to(site)


def test_unknown_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uname:
        machine = "armv7l"

    monkeypatch.setattr("os.uname", Uname)
    with pytest.raises(EngineError, match=r"no WebAssembly engine for this machine \(armv7l\)"):
        library.machine_name()


def test_assembler_names_line_and_column() -> None:
    with pytest.raises(EngineError, match=r"<anon>:1:9"):
        wat_to_wasm("(module x)")
