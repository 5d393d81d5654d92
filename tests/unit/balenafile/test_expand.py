import pytest

from balenawasm.balenafile.expand import StageScope, expand
from balenawasm.balenafile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    ExposedPort,
    From,
    Instruction,
    Label,
    Volume,
    Workdir,
)
from balenawasm.balenafile.source import BalenafileError
from balenawasm.balenafile.stages import parse_balenafile

VARIABLES = {"a": "1", "p": "80 90/udp", "dir": "/x y"}


def instructions(text: str) -> tuple[Instruction, ...]:
    return parse_balenafile("FROM scratch\n" + text, "B").stages[0].instructions


def expanded(text: str) -> Instruction:
    (instruction,) = instructions(text)
    return expand(instruction, VARIABLES)


def test_words_of_every_instruction_are_expanded() -> None:
    copy = expanded("COPY --from=x --chmod=${m:-755} --chown=$a:$a '$a' $dir/")
    assert isinstance(copy, Copy)
    assert (copy.sources, copy.destination, copy.from_stage) == (("$a",), "/x y/", "x")
    assert (copy.chmod, copy.mode, copy.chown) == ("755", 0o755, "1:1")
    add = expanded('ADD --checksum=$a ["$a b", "c"]')
    assert isinstance(add, Add)
    assert (add.checksum, add.sources, add.destination, add.mode) == ("1", ("1 b",), "c", None)
    workdir = expanded('WORKDIR "$dir"/$a')
    assert isinstance(workdir, Workdir)
    assert workdir.path == "/x y/1"
    env = expanded("ENV $a=\"b $a\" c='$a' d=${none:-e}")
    assert isinstance(env, Env)
    assert env.pairs == (("1", "b 1"), ("c", "$a"), ("d", "e"))
    old = expanded('ENV x a "$a"  b')
    assert isinstance(old, Env)
    assert old.pairs == (("x", "a 1  b"),)
    label = expanded('LABEL "k $a"=$none')
    assert isinstance(label, Label)
    assert label.pairs == (("k 1", ""),)
    volume = expanded("VOLUME $dir /b")
    assert isinstance(volume, Volume)
    assert volume.paths == ("/x y", "/b")
    arg = expanded("ARG x=$a y")
    assert isinstance(arg, Arg)
    assert arg.declarations == (("x", "1"), ("y", None))


def test_commands_are_left_alone() -> None:
    command = expanded('CMD echo "$a"')
    assert isinstance(command, Cmd)
    assert (command.shell, command.exec) == ('echo "$a"', None)
    entrypoint = expanded('ENTRYPOINT ["$a"]')
    assert isinstance(entrypoint, Entrypoint)
    assert (entrypoint.shell, entrypoint.exec) == (None, ("$a",))


def test_a_port_variable_may_hold_several_ports() -> None:
    expose = expanded("EXPOSE $p 8000-8001/TCP $none")
    assert isinstance(expose, Expose)
    assert expose.ports == (
        ExposedPort(80, "tcp"),
        ExposedPort(90, "udp"),
        ExposedPort(8000, "tcp"),
        ExposedPort(8001, "tcp"),
    )


def test_the_escape_character_is_the_files() -> None:
    (instruction,) = parse_balenafile("# escape=`\nFROM a\nENV b=`$a", "B").stages[0].instructions
    env = expand(instruction, VARIABLES)
    assert isinstance(env, Env)
    assert env.pairs == (("b", "$a"),)


@pytest.mark.parametrize(
    "text", ["COPY $none b", "COPY a $none", "ADD a ''", "WORKDIR $none", "VOLUME ${x}", "ENV $n=1"]
)
def test_nothing_where_something_must_be(text: str) -> None:
    with pytest.raises(BalenafileError, match=r"B:2: .* is empty"):
        expanded(text)


def test_errors_point_to_the_line() -> None:
    with pytest.raises(BalenafileError) as caught:
        expanded("WORKDIR ${none:?no directory}")
    assert caught.value.message == (
        "B:2: none: no directory\n    2 | WORKDIR ${none:?no directory}"
    )
    assert caught.value.hint == "pass it: --build-arg none=VALUE"


def test_wrong_port_and_mode_of_variables() -> None:
    expose = expanded("EXPOSE $dir")
    assert isinstance(expose, Expose)
    with pytest.raises(BalenafileError, match="B:2: '/x' is not a port"):
        _ = expose.ports
    copy = expanded("COPY --chmod=u+x a b")
    assert isinstance(copy, Copy)
    with pytest.raises(BalenafileError, match="B:2: --chmod=u\\+x is not an octal mode"):
        _ = copy.mode


def test_expanding_plain_text_changes_nothing() -> None:
    base = parse_balenafile("FROM --platform=x a:1 AS b", "B").stages[0].base
    assert isinstance(base, From)
    assert expand(base, VARIABLES) == base


def scope_after(text: str, **kwargs: dict[str, str]) -> StageScope:
    scope = StageScope(
        kwargs.get("environment", {}),
        kwargs.get("global_values", {}),
        kwargs.get("build_args", {}),
    )
    for instruction in instructions(text):
        scope.expand(instruction)
    return scope


def test_an_instruction_sees_what_stands_before_it() -> None:
    scope = scope_after("ENV a=1\nENV a=2 b=$a\nENV c=$b$a")
    assert scope.environment == {"a": "2", "b": "1", "c": "12"}


def test_arguments_are_visible_from_their_line_on() -> None:
    scope = scope_after("ENV x=$v\nARG v=d\nENV y=$v", build_args={"v": "given"})
    assert scope.environment == {"x": "", "y": "given"}


def test_env_wins_over_arg_wherever_it_stands() -> None:
    given = {"build_args": {"v": "arg"}}
    assert scope_after("ARG v\nENV v=env\nENV x=$v", **given).environment["x"] == "env"
    assert scope_after("ENV v=env\nARG v\nENV x=$v", **given).environment["x"] == "env"
    base = scope_after("ARG v\nENV x=$v", environment={"v": "base"}, **given)
    assert base.environment == {"v": "base", "x": "base"}


def test_where_an_argument_gets_its_value() -> None:
    text = "ARG v{}\nENV x=${{v-unset}}"
    values = {"global_values": {"v": "global"}}
    assert scope_after(text.format("")).environment["x"] == "unset"
    assert scope_after(text.format(""), **values).environment["x"] == "global"
    assert scope_after(text.format("=own"), **values).environment["x"] == "own"
    given = {**values, "build_args": {"v": "given"}}
    assert scope_after(text.format("=own"), **given).environment["x"] == "given"
    assert scope_after("ENV x=${v-unset}", **given).environment["x"] == "unset"


def test_proxy_arguments_need_no_arg() -> None:
    scope = scope_after("ENV x=$HTTP_PROXY$other", build_args={"HTTP_PROXY": "p", "other": "o"})
    assert scope.environment == {"x": "p"}


def test_arguments_are_no_part_of_the_environment() -> None:
    scope = scope_after("ARG v=1")
    assert scope.variables == {"v": "1"}
    assert scope.environment == {}
