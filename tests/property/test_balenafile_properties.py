"""Balenafiles: whatever the text, stages or a located error; their layout does not matter."""

from hypothesis import given
from hypothesis import strategies as st

from balenawasm.balenafile.expand import StageScope
from balenawasm.balenafile.instructions import Expose
from balenawasm.balenafile.parser import parse_text
from balenawasm.balenafile.resolve import plan_build
from balenawasm.balenafile.source import BalenafileError
from balenawasm.balenafile.stages import parse_balenafile

FRAGMENTS = st.sampled_from(
    [
        *("FROM ", "COPY ", "ADD ", "ENV ", "ARG ", "LABEL ", "EXPOSE ", "VOLUME ", "WORKDIR "),
        *(
            "CMD ",
            "ENTRYPOINT ",
            "a ",
            "b ",
            "AS ",
            "--from=a ",
            "--chmod=7 ",
            "x=1 ",
            "$x ",
            "80 ",
        ),
        *("\n", "\n", "\n", "\\\n", "\r\n", "# escape=`\n", "#", "`\n", " ", "\t", "\\", "'", '"'),
        *('["a", "b"]', "[", "]", "<<EOF", "${x:-", "}", "\ufeff", "\x0b", "\x85", "é", "0 ", "/"),
    ]
)
TEXTS = st.lists(FRAGMENTS, max_size=40).map("".join) | st.text(max_size=40)


@given(TEXTS)
def test_any_text_becomes_nodes(text: str) -> None:
    try:
        parsed = parse_text(text, "B")
    except BalenafileError:
        return
    last = 0
    lines = text.removeprefix("\ufeff").split("\n")
    for node in parsed.nodes:
        assert last < node.where.first_line <= node.where.last_line <= len(lines)
        assert node.keyword
        assert node.value == node.value.strip()
        assert node.where.text == lines[node.where.first_line - 1].rstrip("\r")
        last = node.where.last_line


@given(TEXTS)
def test_any_text_becomes_stages_or_an_error(text: str) -> None:
    try:
        plan = plan_build(parse_balenafile(text, "B"), build_args={"x": "1"})
        for resolved in plan.stages:
            scope = StageScope({"a": "b"}, plan.global_values, {"x": "1"})
            for instruction in resolved.stage.instructions:
                expanded = scope.expand(instruction)
                if isinstance(expanded, Expose):
                    assert all(0 < port.number < 65536 for port in expanded.ports)
    except BalenafileError as error:
        message = error.message
    else:
        message = "B"
    assert message.startswith("B")


@given(TEXTS)
def test_line_ends_do_not_matter(text: str) -> None:
    def outcome(text: str) -> object:
        try:
            parsed = parse_text(text, "B")
        except BalenafileError as error:
            return error.reason
        return [(node.keyword, node.value, node.where) for node in parsed.nodes], parsed.escape

    unix = text.replace("\r", "")
    assert outcome(unix) == outcome(unix.replace("\n", "\r\n"))


WORD = st.text(alphabet="abc/.$=\"'-", min_size=1, max_size=6)


@given(
    st.lists(st.lists(WORD, min_size=1, max_size=5), min_size=1, max_size=5),
    st.lists(
        st.sampled_from([" ", " \\\n ", " \\\n# comment\n", " \\ \n\n"]), min_size=25, max_size=25
    ),
)
def test_continuing_a_line_is_like_a_space(lines: list[list[str]], joints: list[str]) -> None:
    text = ""
    for words in lines:
        text += "ENV"
        for word, joint in zip(words, joints, strict=False):
            text += joint + word
        text += "\n"
    nodes = parse_text(text, "B").nodes
    assert [node.value.split() for node in nodes] == lines
