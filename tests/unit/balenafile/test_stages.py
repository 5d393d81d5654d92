from pathlib import Path

import pytest

from balenawasm.balenafile.resolve import BuildPlan, plan_build
from balenawasm.balenafile.source import BalenafileError
from balenawasm.balenafile.stages import parse_balenafile, read_balenafile

STAGES = """\
ARG BASE=a
ARG IMAGE=$BASE:1
FROM $IMAGE AS one
FROM b AS two
COPY --from=ONE x .
FROM ONE AS three
ARG BASE
COPY --from=1 x .
COPY --from=elsewhere x .
FROM scratch
"""


def plan(text: str, target: str | None = None, **build_args: str) -> BuildPlan:
    return plan_build(parse_balenafile(text, "B"), target=target, build_args=build_args)


def names(text: str, target: str | None = None) -> list[str]:
    return [stage.name for stage in plan(text, target).stages]


def test_only_needed_stages_are_built_in_order() -> None:
    assert names(STAGES) == ["3"]
    assert names(STAGES, "3") == ["3"]
    assert names(STAGES, "Three") == ["one", "two", "three"]
    assert names(STAGES, "two") == ["one", "two"]
    assert names(STAGES, "0") == ["one"]


def test_what_a_stage_begins_with() -> None:
    one, two, three = plan(STAGES, "three").stages
    assert (one.base.image, one.base_stage) == ("a:1", None)
    assert (two.base_stage, {key: it.name for key, it in two.copied_stages.items()}) == (
        None,
        {"ONE": "one"},
    )
    assert three.base_stage == one.stage
    assert {key: it.name for key, it in three.copied_stages.items()} == {"1": "two"}


def test_global_arguments() -> None:
    assert plan(STAGES).global_values == {"BASE": "a", "IMAGE": "a:1"}
    resolved = plan(STAGES, "one", BASE="z")
    assert resolved.global_values == {"BASE": "z", "IMAGE": "z:1"}
    assert resolved.stages[0].base.image == "z:1"


def test_a_variable_may_name_a_stage() -> None:
    text = "ARG FLAVOUR=small\nFROM a AS small\nFROM b AS large\nFROM $FLAVOUR"
    assert names(text) == ["small", "2"]
    assert [stage.name for stage in plan(text, FLAVOUR="LARGE").stages] == ["large", "2"]


def test_from_knows_no_numbers_and_no_later_stages() -> None:
    for stage in plan("FROM a\nFROM 0", "1").stages:
        assert stage.base_stage is None
    assert plan("FROM a AS a").stages[0].base_stage is None


def test_unknown_target() -> None:
    with pytest.raises(BalenafileError, match="B has no stage 'zero'") as caught:
        plan(STAGES, "zero")
    assert caught.value.hint == "its stages: one, two, three, 3"
    for target in ("4", "", "-1", "99999999999999999999"):
        with pytest.raises(BalenafileError, match="has no stage"):
            plan(STAGES, target)


def test_empty_image() -> None:
    with pytest.raises(BalenafileError, match="B:1: the image is empty"):
        plan("FROM $NOTHING")


def test_undeclared_build_arguments_are_named() -> None:
    warnings = plan(
        STAGES + "ARG inner=1\n", BASE="x", inner="y", other="z", HTTP_PROXY="p"
    ).warnings
    assert warnings == ("the build argument other is not used: B has no ARG other",)


def test_a_chain_of_many_stages_is_no_problem() -> None:
    count = 3000
    text = "FROM a AS s0\n" + "".join(f"FROM s{i} AS s{i + 1}\n" for i in range(count))
    assert len(plan(text).stages) == count + 1


def test_reading_files(tmp_path: Path) -> None:
    path = tmp_path / "Balenafile"
    with pytest.raises(BalenafileError, match="cannot read web/Balenafile: No such file"):
        read_balenafile(path, "web/Balenafile")
    with pytest.raises(BalenafileError, match=r"cannot read .*: Is a directory"):
        read_balenafile(tmp_path)
    path.write_bytes(b"FROM a\nCMD \xff\xfe")
    with pytest.raises(BalenafileError, match=r"Balenafile:2: the text is not UTF-8"):
        read_balenafile(path)
    path.write_bytes(b"#" * ((4 << 20) + 1))
    with pytest.raises(BalenafileError, match="larger than 4 MiB"):
        read_balenafile(path)
    path.write_bytes(b"\xef\xbb\xbfFROM a\r\n")
    assert read_balenafile(path).stages[0].base.image == "a"
