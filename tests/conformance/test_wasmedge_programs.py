"""C programs that use WasmEdge's socket functions, in both of their forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from c.toolchain import CToolchain
    from conftest import Cli


@pytest.mark.parametrize("form", [1, 2])
def test_program(c_toolchain: CToolchain, bare_cli: Cli, form: int) -> None:
    program = c_toolchain.compile("wasmedge_sock.c", flags=(f"-DFORM={form}",))
    done = bare_cli("run", str(program), status=None, timeout=60)
    assert done.stdout == "ok\n", done
    assert done.returncode == 0
