"""Balenafile words: whatever the text, a value or a WordError; quoting is undone exactly."""

from hypothesis import given
from hypothesis import strategies as st

from balenawasm.balenafile.words import (
    WordError,
    check_word,
    process_word,
    process_words,
    split_words,
)

ESCAPES = st.sampled_from(["\\", "`"])
FRAGMENTS = st.sampled_from(
    [
        "$",
        "{",
        "}",
        ":",
        "-",
        "+",
        "?",
        "#",
        "'",
        '"',
        "\\",
        "`",
        " ",
        "a",
        "B",
        "_",
        "1",
        "${",
        "é",
    ]
)
WORDS = st.lists(FRAGMENTS, max_size=30).map("".join) | st.text(max_size=30)
VARIABLES = st.dictionaries(st.sampled_from(["a", "B", "_", "aB", "a1"]), st.text(max_size=5))
PLAIN = st.text(alphabet=st.characters(exclude_characters="$'\"\\`", codec="utf-8"), max_size=20)


@given(WORDS, VARIABLES, ESCAPES)
def test_any_word(word: str, variables: dict[str, str], escape: str) -> None:
    try:
        check_word(word, escape)
    except WordError:
        form_is_right = False
    else:
        form_is_right = True
    try:
        process_word(word, variables, escape)
        process_words(word, variables, escape)
    except WordError:
        is_processed = False
    else:
        is_processed = True
    assert is_processed == form_is_right or (form_is_right and "?" in word)


@given(PLAIN, VARIABLES, ESCAPES)
def test_plain_words_stay(word: str, variables: dict[str, str], escape: str) -> None:
    assert process_word(word, variables, escape) == word
    assert process_words(word, variables, escape) == word.split()
    assert split_words(word, escape) == word.split()


def single_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def double_quoted(text: str, escape: str) -> str:
    for character in (escape, '"', "$"):
        text = text.replace(character, escape + character)
    return f'"{text}"'


def escaped(text: str, escape: str) -> str:
    return "".join(escape + character for character in text)


@given(st.lists(st.text(min_size=1, max_size=10), max_size=5), VARIABLES, ESCAPES)
def test_quoting_is_undone(texts: list[str], variables: dict[str, str], escape: str) -> None:
    for quoted in (
        [single_quoted(text) for text in texts],
        [double_quoted(text, escape) for text in texts],
        [escaped(text, escape) for text in texts],
    ):
        words = split_words(" \t".join(quoted), escape)
        assert words == quoted
        assert [process_word(word, variables, escape) for word in words] == texts
        assert process_words(" ".join(quoted), variables, escape) == texts


@given(VARIABLES, ESCAPES, st.text(max_size=5).filter(lambda text: not set(text) & set("'\"$\\`}")))
def test_substitutions(variables: dict[str, str], escape: str, word: str) -> None:
    value = variables.get("a")
    expected = {
        "-": value if value is not None else word,
        ":-": value or word,
        "+": word if value is not None else "",
        ":+": word if value else "",
    }
    for operator, result in expected.items():
        assert process_word(f"${{a{operator}{word}}}", variables, escape) == result
    assert process_word('"$a"', variables, escape) == (value or "")
    assert process_words("$a", variables, escape) == (value or "").split()
