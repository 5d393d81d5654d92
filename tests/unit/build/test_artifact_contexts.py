"""COPY --from=artifact:NAME: made when it is needed, part of the cache's keys and of recipes."""

from __future__ import annotations

import pytest

from balenawasm.balenafile.source import BalenafileError
from balenawasm.build.events import StepDone, WorkStarted

BALENAFILE = "FROM scratch\nCOPY --from=artifact:tool bin /usr/bin\n"


@pytest.fixture
def tool(builder):
    builder.write({"tool/bin/run": "one", "other/x": "2"}, builder.artifacts.root)
    (builder.artifacts.root / "tool/bin/run").chmod(0o755)
    (builder.artifacts.root / "tool/bin/link").symlink_to("run")
    return builder


def test_its_files_are_copied_with_modes_and_links(tool):
    image = tool.build(BALENAFILE)
    assert tool.only_files(image) == {"usr/bin/run": "one", "usr/bin/link": "-> run"}
    assert tool.of(WorkStarted)[0].what == "making tool"


def test_it_is_not_asked_for_when_the_layer_is_in_the_cache(tool):
    first = tool.build(BALENAFILE)
    assert tool.build().digest == first.digest
    assert tool.artifacts.made == ["tool"]
    assert tool.of(StepDone)[-1].cached


def test_another_artifact_makes_another_layer(tool):
    first = tool.build(BALENAFILE)
    (tool.artifacts.root / "tool/bin/run").write_text("two")
    assert tool.build().digest != first.digest
    assert tool.artifacts.made == ["tool", "tool"]


def test_a_recipe_is_built_again_when_its_artifact_changes(tool):
    tool.recipe("tools", BALENAFILE)
    tool.build("FROM balenaos/tools\n")
    (tool.artifacts.root / "other/x").write_text("3")
    tool.build()
    assert tool.artifacts.made == ["tool"]
    (tool.artifacts.root / "tool/bin/run").write_text("two")
    assert tool.only_files(tool.build())["usr/bin/run"] == "two"


def test_a_name_that_is_none_is_told_with_its_place(tool):
    with pytest.raises(BalenafileError, match="no artifact toll") as caught:
        tool.build("FROM scratch\nCOPY --from=artifact:toll bin /usr/bin\n")
    assert caught.value.hint == "there are others"
    assert caught.value.where.first_line == 2


def test_a_file_that_is_missing_is_told(tool):
    with pytest.raises(BalenafileError, match="lib is not in the artifact tool"):
        tool.build("FROM scratch\nCOPY --from=artifact:tool lib /lib\n")
