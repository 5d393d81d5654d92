"""Shell-form commands that need no shell: split when every shell would agree."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from balenawasm.runtime.plain_words import NotPlainError, plain_words, program_words

PLAIN = [
    "python server.py -p 3000",
    "  python\t-c  'print(1); x = \"$HOME\"' ",
    'server --name="a b" --empty=""',
    "a'b'\"c\"d e",
    "prog --x=y a:b,c@d%e+f/g_h.i -",
    "prog x~ a#b x!",
    "exec python server.py",
    "'cd' /x",
]


@pytest.mark.parametrize("text", PLAIN[:-2])
def test_plain_words_are_those_of_a_real_shell(text):
    """`sh` itself is asked which words it sees."""
    script = f"set -- {text}; for w; do printf '%s\\0' \"$w\"; done"
    words = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert plain_words(text) == tuple(word.decode() for word in words.split(b"\0")[:-1])


def test_quoting_agrees_with_shlex():
    assert list(plain_words(PLAIN[1])) == shlex.split(PLAIN[1])


def test_exec_in_front_is_dropped():
    assert plain_words("exec python server.py") == ("python", "server.py")


@pytest.mark.parametrize(
    "text",
    [
        "python a.py && b",
        "a | b",
        "a; b",
        "a > b",
        "echo $HOME",
        'echo "$HOME"',
        "echo `date`",
        'echo "`date`"',
        "ls *.py",
        "ls ?",
        "ls [a]",
        "a\\ b",
        "~/x",
        "prog # comment",
        "A=1 prog",
        "cd /app",
        "if true",
        "export A",
        ". ./env",
        "{ a",
        "a 'b",
        "a\nb",
        "''x=1" + "; y",
        "   ",
    ],
)
def test_anything_else_is_refused_with_the_reason(text):
    with pytest.raises(NotPlainError) as caught:
        plain_words(text)
    assert str(caught.value)
    assert program_words((b"/bin/sh", b"-c", text.encode())) == ()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((b"/bin/sh", b"-c", b"python  'a b' \xff"), (b"python", b"a b", b"\xff")),
        ((b"/bin/sh", b"-c", b"exec python", b"parameter"), (b"python",)),
        ((b"/bin/sh", b"-c"), ()),
        ((b"/bin/sh", b"-e", b"python"), ()),
        ((b"/bin/sh", b"script"), ()),
        ((b"/bin/bash", b"-c", b"python"), ()),
        ((b"sh", b"-c", b"python"), ()),
    ],
)
def test_what_a_shell_would_only_hand_on(argv, words):
    assert program_words(argv) == words
