"""Compose files: whatever the input, a project or a ComposeError; variables mean what they say."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from balenawasm.compose.document import ComposeError
from balenawasm.compose.dotenv import parse_dotenv
from balenawasm.compose.interpolate import InterpolationError, interpolate
from balenawasm.compose.load import load_project
from balenawasm.compose.yamltree import parse_document

VARIABLES = st.dictionaries(st.sampled_from(["A", "B", "_c"]), st.text(max_size=5))
TEMPLATES = st.lists(
    st.sampled_from(["$", "{", "}", "${", ":", "-", "+", "?", "A", "B", "_c", " ", "1", "é"]),
    max_size=25,
).map("".join)


@given(TEMPLATES | st.text(max_size=25), VARIABLES)
def test_any_template(template: str, variables: dict[str, str]) -> None:
    try:
        interpolate(template, variables.get)
    except InterpolationError as error:
        hint = error.hint
    else:
        hint = "none needed"
    assert hint


@given(st.text(max_size=40), VARIABLES)
def test_doubled_dollars_are_literal(text: str, variables: dict[str, str]) -> None:
    assert interpolate(text.replace("$", "$$"), variables.get) == text


Node = str | tuple[str, str, "list[Node]"]
NAMES = st.sampled_from(["A", "B", "_c"])
LITERALS = st.text(alphabet="ab:-+?{ $", max_size=4)
NODES: st.SearchStrategy[Node] = st.recursive(
    LITERALS,
    lambda inner: st.tuples(
        NAMES, st.sampled_from(["", ":-", "-", ":+", "+"]), st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


def write(node: Node) -> str:
    if isinstance(node, str):
        return node.replace("$", "$$")
    name, operator, argument = node
    return f"${{{name}{operator}{''.join(map(write, argument)) if operator else ''}}}"


def evaluate(node: Node, variables: Mapping[str, str]) -> str:
    if isinstance(node, str):
        return node
    name, operator, argument = node
    value = variables.get(name)
    there = bool(value) if operator.startswith(":") else value is not None
    other = "".join(evaluate(it, variables) for it in argument)
    if operator.endswith("+"):
        return other if there else ""
    return (value or "") if there or not operator else other


@given(st.lists(NODES, max_size=4), VARIABLES)
def test_templates_mean_what_they_say(nodes: list[Node], variables: dict[str, str]) -> None:
    template = "".join(map(write, nodes))
    expected = "".join(evaluate(node, variables) for node in nodes)
    assert interpolate(template, variables.get) == expected


KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
VALUES = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=20)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_quoted_values_in_env_files(values: dict[str, str]) -> None:
    lines = []
    for name, value in values.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        lines.append(f'export {name} = "{escaped}" # comment\n')
    assert parse_dotenv("\n".join(lines), "e", lambda _: None) == values


@given(st.lists(st.sampled_from(["A", "=", " ", "'", '"', "\\", "\n", "#", "$", "{", "}", ":"])))
def test_any_env_file(fragments: list[str]) -> None:
    try:
        parse_dotenv("".join(fragments), "e", {"A": "1"}.get)
    except ComposeError as error:
        message = error.message
    else:
        message = "e:"
    assert message.startswith("e:")


@given(
    st.lists(
        st.sampled_from(
            ["a", ":", " ", "\n", "  ", "- ", "[", "]", "{", "}", "&x ", "*x", "<<", "!", "'", "1"]
        )
    ).map("".join)
    | st.text(max_size=30)
)
def test_any_yaml(text: str) -> None:
    try:
        parse_document(text, "c")
    except ComposeError as error:
        message = error.message
    else:
        message = "c:"
    assert message.startswith("c:")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1, 70000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [
            "",
            "80:80",
            "1-3:4-6/udp",
            "./a:/b:ro",
            "data:/d",
            "$A",
            "a=b",
            "web",
            "/x",
            "no",
            ".",
            "~",
        ]
    )
    | st.text(alphabet="ab:/-.=$ '\"", max_size=8)
)
INNER_KEYS = st.sampled_from(
    ["target", "published", "type", "source", "context", "args", "condition", "path", "web", "name"]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER_KEYS, inner, max_size=3),
    max_leaves=6,
)
SERVICE_KEYS = st.sampled_from(
    """
    build image command entrypoint environment env_file ports expose volumes depends_on working_dir
    restart labels x-balenawasm privileged unknown
    """.split()  # noqa: SIM905 - a table, not a sentence
)


@settings(max_examples=150)
@given(st.dictionaries(SERVICE_KEYS, TREES, max_size=4), TREES)
def test_any_service(service: dict[str, object], volumes: object) -> None:
    document = {"services": {"web": {"image": "a", **service}}, "volumes": volumes}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "demo"
        directory.mkdir()
        (directory / "compose.yaml").write_text(json.dumps(document))
        try:
            project = load_project(directory, environment={"A": "1"})
        except ComposeError:
            return
        assert [*project.services, *project.docker_services] == ["web"]
