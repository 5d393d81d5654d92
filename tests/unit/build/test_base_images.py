"""Base images: recipes built on demand, once, and again only when they change."""

from __future__ import annotations

import os
import shutil
import threading

import pytest

from balenawasm.balenafile.source import BalenafileError
from balenawasm.build.base_images import RecipeError
from balenawasm.build.events import BuildDone, BuildStarted
from balenawasm.build.image_build import BuildRequest, Workshop, build_image
from balenawasm.oci.mediatypes import RECIPE_DIGEST_LABEL
from balenawasm.oci.reference import parse_reference
from balenawasm.runtime.recipes import default_recipes
from balenawasm.store.store import Store

RECIPE = 'FROM scratch\nCOPY lib /lib\nCMD ["x"]\n'


@pytest.fixture
def base(builder):
    builder.recipe("python", RECIPE, **{"lib/a.py": "A"})
    return builder


def built(builder):
    return [event.image for event in builder.of(BuildDone)]


def test_a_base_image_is_built_when_it_is_first_named(base):
    image = base.build("FROM BalenaOS/Python\n")
    assert built(base) == ["balenaos/python:latest", "test:latest"]
    assert base.only_files(image) == {"lib/a.py": "A"}
    assert image.config.cmd == ("x",)
    stored = base.store.images.get(parse_reference("balenaos/python"))
    assert stored.config.labels[RECIPE_DIGEST_LABEL].startswith("sha256:")
    assert RECIPE_DIGEST_LABEL not in image.config.labels


def test_it_is_not_built_again_even_without_the_cache(base):
    base.build("FROM balenaos/python\n")
    shutil.rmtree(base.root / "cache")
    base.build(no_cache=True)
    assert built(base) == ["test:latest"]


@pytest.mark.parametrize("what", ["content", "mode", "new file", "balenafile"])
def test_it_is_built_again_when_its_recipe_changes(base, what):
    before = base.build("FROM balenaos/python\n")
    folder = base.recipes / "python"
    match what:
        case "content":
            (folder / "lib/a.py").write_text("B")
        case "mode":
            (folder / "lib/a.py").chmod(0o755)
        case "new file":
            (folder / "lib/b.py").write_text("")
        case "balenafile":
            (folder / "Balenafile").write_text(RECIPE + "ENV A=1\n")
    assert base.build().digest != before.digest
    assert built(base) == ["balenaos/python:latest", "test:latest"]


def test_times_do_not_change_a_recipe(base):
    before = base.build("FROM balenaos/python\n")
    os.utime(base.recipes / "python/lib/a.py", (1, 1))
    assert base.build().digest == before.digest
    assert built(base) == ["test:latest"]


def test_what_a_recipe_ignores_does_not_change_it(base):
    base.write({".dockerignore": "**/__pycache__\nBalenafile\n"}, base.recipes / "python")
    before = base.build("FROM balenaos/python\n")
    base.write({"lib/__pycache__/a.pyc": "x"}, base.recipes / "python")
    assert base.build().digest == before.digest
    assert built(base) == ["test:latest"]
    base.write({"Balenafile": RECIPE + "ENV A=1\n"}, base.recipes / "python")
    assert base.build().digest != before.digest


def test_a_recipe_s_image_is_the_same_from_every_checkout(base, tmp_path):
    one = base.build("FROM balenaos/python\n")
    os.utime(base.recipes / "python/lib/a.py", (1, 1))
    workshop = Workshop(
        store=Store(tmp_path / "store2").open(),
        build_cache=tmp_path / "cache2",
        downloads=tmp_path / "downloads2",
        recipes=base.recipes,
        environment={},
    )
    request = BuildRequest(context=base.context, reference=parse_reference("test"))
    assert build_image(request, workshop).digest == one.digest


def test_it_is_built_again_when_it_is_gone_or_damaged(base):
    first = base.build("FROM balenaos/python\n")
    stored = base.store.images.get(parse_reference("balenaos/python"))
    for digest in (stored.manifest.layers[0].digest, stored.digest, stored.manifest.config.digest):
        base.store.blobs.remove(digest)
        assert base.build().digest == first.digest
        assert built(base) == ["balenaos/python:latest", "test:latest"]
    base.store.images.verify(stored)


def test_recipes_start_from_recipes(base):
    base.recipe("django", "FROM balenaos/python\nCOPY d /d\n", d="D")
    image = base.build("FROM balenaos/django\n")
    assert built(base) == ["balenaos/python:latest", "balenaos/django:latest", "test:latest"]
    assert base.only_files(image) == {"lib/a.py": "A", "d": "D"}
    (base.recipes / "python/lib/a.py").write_text("changed")
    assert base.only_files(base.build())["lib/a.py"] == "changed"
    assert len(built(base)) == 3


def test_stages_of_a_recipe_count_too(base):
    base.recipe("tool", "FROM scratch\nCOPY --from=balenaos/python /lib/a.py /t\n")
    base.build("FROM balenaos/tool\n")
    (base.recipes / "python/lib/a.py").write_text("changed")
    assert base.only_files(base.build()) == {"t": "changed"}


def test_recipes_in_a_circle_are_refused(builder):
    builder.recipe("a", "FROM balenaos/b\n")
    builder.recipe("b", "FROM balenaos/a\n")
    with pytest.raises(RecipeError, match="starts from itself: balenaos/a → balenaos/b"):
        builder.build("FROM balenaos/a\n")


def test_an_error_in_a_recipe_is_told_with_its_place(base):
    (base.recipes / "python/Balenafile").write_text("FROM scratch\nCOPY none /\n")
    with pytest.raises(BalenafileError, match=r"recipes/python/Balenafile:2: none is not in"):
        base.build("FROM balenaos/python\n")


@pytest.mark.parametrize("name", ["balenaos/python:3", "balenaos/ruby", "other/python", "python"])
def test_other_names_must_be_in_the_store(base, name):
    with pytest.raises(BalenafileError, match=f"no image '{name}"):
        base.build(f"FROM {name}\n")
    base.build("FROM scratch\n", name=name)
    base.build(f"FROM {name}\n")
    assert built(base) == ["test:latest"]


def test_builders_at_the_same_time_build_it_once(base):
    base.write({"Balenafile": "FROM balenaos/python\n"})
    started = []
    failures = []
    barrier = threading.Barrier(4)

    def work(number):
        request = BuildRequest(context=base.context, reference=parse_reference(f"t{number}"))
        barrier.wait()
        try:
            build_image(request, base.workshop, started.append)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    images = [event.image for event in started if isinstance(event, BuildStarted)]
    assert images.count("balenaos/python:latest") == 1
    assert len(images) == 5


def test_the_recipes_are_found_beside_the_package():
    found = default_recipes()
    assert found is not None
    assert found.name in ("images", "recipes")
