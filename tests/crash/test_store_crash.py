"""The store when its writer is killed or the disk is full: nothing half-written is ever seen."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from balenawasm.store.store import Store

WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from balenawasm.oci.config import ImageConfig
    from balenawasm.oci.mediatypes import EXT4_LAYER
    from balenawasm.oci.reference import parse_reference
    from balenawasm.store.store import Store

    store = Store(Path(sys.argv[1])).open()
    print("ready", flush=True)
    for number in range(1_000_000):
        with store.writing():
            with store.blobs.ingest() as blob:
                for part in range(20):
                    blob.write(b"%d" % number * 5000)
            layer = blob.descriptor(EXT4_LAYER)
            store.images.put(parse_reference(f"x:{number % 7}"), ImageConfig(), [layer])
        if number % 5 == 4:
            store.collect_garbage()
    """
)

FULL_DISK = textwrap.dedent(
    """
    import os, subprocess, sys
    from pathlib import Path
    from balenawasm.oci.config import ImageConfig
    from balenawasm.oci.mediatypes import EXT4_LAYER
    from balenawasm.oci.reference import parse_reference
    from balenawasm.store.errors import StoreFullError
    from balenawasm.store.store import Store

    root = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", root], check=True)
    store = Store(root / "store").open()
    small = store.blobs.add(b"x" * 1000, EXT4_LAYER)
    image = store.images.put(parse_reference("kept"), ImageConfig(), [small])
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    try:
        with store.blobs.ingest() as blob:
            for _ in range(100):
                blob.write(os.urandom(65536))
    except StoreFullError as error:
        assert str(root) in error.message, error.message
        assert "free space" in error.hint
    else:
        raise AssertionError("the disk was not full")
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert before == after, before.keys() ^ after.keys()
    # The index too: fill the disk to the last page, then tag.
    with (root / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        store.images.tag(image, parse_reference("second"))
    except StoreFullError:
        pass
    else:
        raise AssertionError("the disk was not full")
    (root / "ballast").unlink()
    assert [str(i.reference) for i in store.images.list()] == ["kept:latest"]
    assert not list(root.rglob(".tmp-*"))
    print("done")
    """
)


def test_a_killed_writer_loses_nothing_that_was_named(tmp_path):
    root = tmp_path / "store"
    delays = random.Random(7)
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(delays.uniform(0.01, 0.15))
            writer.send_signal(signal.SIGKILL)
        store = Store(root).open()
        for image in store.images.list():
            store.images.verify(image)
    store.collect_garbage()
    live = len(store.images.list())
    assert live >= 1
    assert not list(root.rglob(".tmp-*"))
    assert len(store.blobs.list()) <= 3 * live
    for image in store.images.list():
        store.images.verify(image)


def test_a_full_disk_is_a_clear_error_and_changes_nothing(tmp_path):
    """A small tmpfs in a mount namespace of its own is a real full disk."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    possible = shutil.which("unshare") and not subprocess.call(
        [*namespace, "mount", "-t", "tmpfs", "none", str(tmp_path)], stderr=subprocess.DEVNULL
    )
    if not possible:
        pytest.skip("this machine gives no mount namespace")
    result = subprocess.run(
        [*namespace, sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "done\n", result.stderr
