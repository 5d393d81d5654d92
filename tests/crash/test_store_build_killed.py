"""Builds that are killed at random moments: the store stays whole and the next build succeeds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

from balenawasm.build.image_build import BuildRequest, Workshop, build_image
from balenawasm.oci.reference import parse_reference
from balenawasm.store.store import Store

BUILDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from balenawasm.build.image_build import BuildRequest, Workshop, build_image
    from balenawasm.oci.reference import parse_reference
    from balenawasm.store.store import Store

    root = Path(sys.argv[1])
    workshop = Workshop(store=Store(root / "store").open(), build_cache=root / "cache",
                        downloads=root / "downloads", recipes=root / "recipes", environment={})
    request = BuildRequest(context=root / "context", reference=parse_reference("test"),
                           no_cache=True)
    print("ready", flush=True)
    while True:
        build_image(request, workshop)
    """
)


def test_killed_builds_leave_a_whole_store(tmp_path):
    context, recipe = tmp_path / "context", tmp_path / "recipes/base"
    context.mkdir()
    recipe.mkdir(parents=True)
    (recipe / "data").write_bytes(os.urandom(300_000))
    (recipe / "Balenafile").write_text("FROM scratch\nCOPY data /base\n")
    (context / "data").write_bytes(os.urandom(300_000))
    (context / "Balenafile").write_text("FROM balenaos/base\nWORKDIR /w\nCOPY data .\n")
    workshop = Workshop(
        store=Store(tmp_path / "store").open(),
        build_cache=tmp_path / "cache",
        downloads=tmp_path / "downloads",
        recipes=tmp_path / "recipes",
        environment={},
    )
    request = BuildRequest(context=context, reference=parse_reference("test"))
    delays = random.Random(11)
    expected = None
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tmp_path)], stdout=subprocess.PIPE
        ) as builder:
            assert builder.stdout is not None
            assert builder.stdout.readline() == b"ready\n"
            time.sleep(delays.uniform(0.0, 0.06))
            builder.send_signal(signal.SIGKILL)
        for image in workshop.store.images.list():
            workshop.store.images.verify(image)
        image = build_image(request, workshop)
        workshop.store.images.verify(image)
        assert expected in (None, image.digest)
        expected = image.digest
        assert not list(tmp_path.rglob(".tmp-*"))
