"""The quick reader of `run` against click, which has the say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balenawasm.cli.run import run_command
from balenawasm.cli.run_options import OPTIONS, RunOptions, read_plainly
from balenawasm.cli.values import (
    TmpfsMount,
    parse_count,
    parse_cpus,
    parse_seconds,
    parse_tmpfs,
    parse_ulimit,
)
from balenawasm.runtime.ports import PublishedPort

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = st.lists(
    st.sampled_from(
        [name for option in OPTIONS for name in option.names]
        + [f"{name}=a:/b" for option in OPTIONS for name in option.names]
        + ["--", "-", "-it", "-eA=1", "--memory=64m", "--help", "--unknown", "", "image", "x.wasm"]
        + ["A=1", "a:/b:ro", "8080:80", "99999", "64m", "é", "--publish=80"]
    ),
    max_size=7,
)


def read_by_click(words: list[str]) -> RunOptions | None:
    try:
        with run_command.make_context("run", list(words)) as context:
            return RunOptions(**context.params)
    except (click.ClickException, click.exceptions.Exit):
        return None


@given(WORDS)
@example(["-e", "--", "image", "--", "-e", "x"])
@example(["--env=", "image"])
@example(["-w", "", "image", ""])
def test_what_it_reads_click_reads_alike(words: list[str]) -> None:
    options = read_plainly(["run", *words])
    if options is not None:
        assert options == read_by_click(words)


def test_every_option() -> None:
    words = (
        "run -e A=1 --env=B=2 -v a:/b --tmpfs /t:size=1k -p 8080:80 --allow udp://a:1"
        " --network none --unsetenv-all -w /w -i -t"
        " --memory 1k --cpus 0.5 --cpu-shares 512 --cpu-time 1.5m --pids-limit 9"
        " --ulimit nofile=64:128 --storage 2m --entrypoint e --rm i a -b"
    )
    assert read_plainly(words.split()) == RunOptions(
        image="i",
        arguments=("a", "-b"),
        variables=("A=1", "B=2"),
        volumes=(("a", "/b", False),),
        tmpfs=(TmpfsMount("/t", 1024),),
        ports=(PublishedPort(container_port=80, host_port=8080),),
        allow=("udp://a:1",),
        network="none",
        workdir="/w",
        interactive=True,
        tty=True,
        memory=1024,
        cpus=0.5,
        cpu_shares=512,
        cpu_time=90.0,
        pids_limit=9,
        ulimits=(64,),
        storage=2 << 20,
        entrypoint="e",
        remove=True,
        bare_environment=True,
    )


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/", TmpfsMount("/")),
        ("/t:size=2m", TmpfsMount("/t", 2 << 20)),
        ("/t:from=.", TmpfsMount("/t", source=".")),
        ("/t:size=1k,from=/a,b:from=c", TmpfsMount("/t", 1024, "/a,b:from=c")),
    ],
)
def test_tmpfs(text: str, mount: TmpfsMount) -> None:
    assert parse_tmpfs(text) == mount


@pytest.mark.parametrize("text", ["", "t", "/t:size=0", "/t:mode=1", "/t:from=", "/t:xfrom=a"])
def test_no_tmpfs(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        parse_tmpfs(text)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["up"],
        ["--help"],
        ["run"],
        ["run", "--help"],
        ["run", "-e"],
        ["run", "-it", "image"],
        ["run", "--tty=yes", "image"],
        ["run", "-p", "99999", "image"],
        ["run", "--", "image"],
    ],
    ids=" ".join,
)
def test_anything_special_is_left_to_click(words: list[str]) -> None:
    assert read_plainly(words) is None


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (parse_cpus, ["", "x", "0", "-1", "nan", "inf", "0.001", "2000"]),
        (parse_count, ["", "0", "-1", "1.5", "x", "1" * 30, "٣"]),
        (parse_seconds, ["", "0", "0s", "-1s", "1d", "s", "1 s"]),
        (parse_ulimit, ["", "nofile", "nofile=", "nofile=1", "nproc=64", "nofile=99999999", "64"]),
    ],
)
def test_wrong_limits(parse: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match="is not a"):
            parse(text)
