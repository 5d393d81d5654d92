"""Where groups are made, and what is written into them: on directories that look like a hierarchy
of version 2, and on this machine's own as far as it lets us.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balenawasm.runtime import cgroup
from balenawasm.runtime.bundle import Limits
from balenawasm.runtime.host_limits import nice_level

MOUNTINFO = """\
23 1 254:0 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / {mount} rw,relatime shared:9 - cgroup2 cgroup2 rw
"""


def hierarchy(directory: Path, *controllers: str) -> Path:
    """A group with the files that the kernel puts into one."""
    directory.mkdir(parents=True)
    (directory / "cgroup.controllers").write_text(" ".join(controllers) + "\n")
    for name in ("cgroup.subtree_control", "cgroup.procs"):
        (directory / name).write_text("")
    return directory


def test_the_hierarchy_is_found(tmp_path: Path) -> None:
    mountinfo, own = tmp_path / "mountinfo", tmp_path / "cgroup"
    mountinfo.write_text(MOUNTINFO.format(mount="/sys/fs/cgroup/unified"))
    own.write_text("4:memory:/x\n0::/user.slice/a.service\n")
    mount = Path("/sys/fs/cgroup/unified")
    assert cgroup.find_host(mountinfo, own) == cgroup.Host(mount, mount / "user.slice/a.service")
    own.write_text("4:memory:/x\n")
    assert cgroup.find_host(mountinfo, own) is None
    assert cgroup.find_host(tmp_path / "none", own) is None


def test_for_root_a_group_at_the_top_is_made(tmp_path: Path) -> None:
    mount = hierarchy(tmp_path / "mount", "cpuset", "cpu", "memory", "pids")
    host = cgroup.Host(mount, mount)
    # A directory hands nothing down: that is the kernel's part.
    assert cgroup.find_base(host, root=True) is None
    hierarchy_below = mount / "balenawasm"
    (hierarchy_below / "cgroup.controllers").write_text("cpu memory pids\n")
    (hierarchy_below / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert cgroup.find_base(host, root=True) == hierarchy_below


def test_without_controllers_nothing_is_made(tmp_path: Path) -> None:
    mount = hierarchy(tmp_path / "mount", "hugetlb")
    assert cgroup.find_base(cgroup.Host(mount, mount), root=True) is None
    assert not (mount / "balenawasm").exists()


def test_for_others_the_parent_must_be_delegated_and_empty(tmp_path: Path) -> None:
    parent = hierarchy(tmp_path / "service", "cpu", "pids")
    own = hierarchy(parent / "supervisor", "cpu", "pids")
    (parent / "cgroup.subtree_control").write_text("cpu pids\n")
    host = cgroup.Host(tmp_path, own)
    assert cgroup.find_base(host, root=False) == parent
    (parent / "cgroup.procs").write_text("17\n")
    assert cgroup.find_base(host, root=False) is None


def test_what_is_written(tmp_path: Path) -> None:
    group = hierarchy(tmp_path / "c1", "cpu", "memory", "pids")
    limits = Limits(memory=64 << 20, cpus=0.25, cpu_weight=50, processes=10)
    kept = cgroup.enter(tmp_path, "c1", limits, tmpfs_bytes=1 << 20)
    assert kept == {"cpu", "memory", "pids"}
    assert (group / "cpu.max").read_text() == "25000 100000"
    assert (group / "cpu.weight").read_text() == "50"
    assert (group / "memory.max").read_text() == str(
        (64 << 20) + cgroup.MEMORY_HEADROOM + (1 << 20)
    )
    assert (group / "pids.max").read_text() == str(10 + cgroup.PIDS_HEADROOM)
    assert (group / "cgroup.procs").read_text() == str(os.getpid())


def test_a_missing_controller_is_left_to_the_runner(tmp_path: Path) -> None:
    hierarchy(tmp_path / "c1", "memory")
    assert cgroup.enter(tmp_path, "c1", Limits(memory=1 << 20, cpus=1), tmpfs_bytes=0) == {"memory"}
    # mkdir in a real hierarchy brings the files; here there are none, so nothing is kept.
    assert cgroup.enter(tmp_path, "c2", Limits(cpus=1), tmpfs_bytes=0) == frozenset()
    assert not (tmp_path / "c2").exists()
    assert cgroup.enter(tmp_path / "gone", "c", Limits(cpus=1), tmpfs_bytes=0) == frozenset()


def test_out_of_memory_is_seen(tmp_path: Path) -> None:
    group = hierarchy(tmp_path / "c1", "memory")
    assert not cgroup.was_out_of_memory("c1", tmp_path)
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 0\n")
    assert not cgroup.was_out_of_memory("c1", tmp_path)
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert cgroup.was_out_of_memory("c1", tmp_path)


def test_on_this_machine_nothing_breaks() -> None:
    """Whether there is a hierarchy that we may use or not: a group is made and removed again."""
    base = cgroup.find_base()
    if base is None:
        pytest.skip("no cgroup of version 2 with controllers that we may use")
    pid = os.fork()
    if pid == 0:
        kept = cgroup.enter(base, "test-group", Limits(memory=1 << 30, cpus=1), tmpfs_bytes=0)
        os._exit(0 if kept else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert (base / "test-group").is_dir()
    cgroup.remove("test-group", base)
    assert not (base / "test-group").exists()


def test_nice_levels() -> None:
    assert [nice_level(weight) for weight in (100, 80, 50, 1, 125, 10000)] == [0, 1, 3, 19, -1, -20]
