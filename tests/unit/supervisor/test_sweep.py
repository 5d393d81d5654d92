from __future__ import annotations

import os
from typing import TYPE_CHECKING

from balenawasm.runtime.bundle import Bundle, write_bundle
from balenawasm.runtime.home import Home
from balenawasm.runtime.sweep import sweep_runs
from balenawasm.supervisor.sweep import sweep_containers

if TYPE_CHECKING:
    from pathlib import Path

GONE = 4_194_304
"""No process has this number: it is the limit of Linux."""


def test_only_runs_whose_process_is_gone_are_swept(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    mine, dead = f"run-{os.getpid()}-ab", f"run-{GONE}-ab"
    for name in (mine, dead, "shop_web_1"):
        for directory in (home.containers, home.run / "containers", home.run / "networks"):
            (directory / name).mkdir()
            (directory / name / "file").touch()
    sweep_runs(home)
    for directory in (home.containers, home.run / "containers", home.run / "networks"):
        assert sorted(p.name for p in directory.iterdir()) == [mine, "shop_web_1"]


def test_unknown_containers_are_swept_but_not_those_of_unread_projects(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    for name, project in [("known", "shop"), ("lost", "shop"), ("bad", "damaged"), ("free", None)]:
        bundle = Bundle(id=name, project=project, argv=(b"x",))
        write_bundle(home.container(name), bundle)
        home.container(name).run.mkdir()
    home.container("half").directory.mkdir()
    sweep_containers(home, {"known"}, {"damaged"})
    left = sorted(p.name for p in home.containers.iterdir())
    assert left == ["bad", "free", "known"]
    assert sorted(p.name for p in (home.run / "containers").iterdir()) == left
