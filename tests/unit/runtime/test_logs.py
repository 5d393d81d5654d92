from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balenawasm.runtime import logs
from balenawasm.runtime.logs import LONGEST_LINE, LogReader, LogRecord, LogStream, LogWriter
from balenawasm.vfs.mounts import NOBODY

if TYPE_CHECKING:
    from pathlib import Path


def write(stream: LogStream, *pieces: bytes) -> None:
    assert stream.write(NOBODY, [memoryview(p) for p in pieces]) == sum(map(len, pieces))


def read(path: Path, **how: Any) -> list[LogRecord]:
    reader = LogReader(path, **how)
    try:
        return list(reader.records())
    finally:
        reader.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_lines_are_split_joined_and_flushed(path: Path) -> None:
    writer = LogWriter(path)
    out, err = LogStream(writer, "stdout"), LogStream(writer, "stderr")
    write(out, b"one\ntw", b"o\nthr")
    write(err, b"bad \xff\n")
    write(out, b"ee")
    out.retain()
    out.release()
    writer.close()
    assert [(r.stream, r.line) for r in read(path)] == [
        ("stdout", "one"),
        ("stdout", "two"),
        ("stderr", "bad \ufffd"),
        ("stdout", "three"),
    ]
    document = json.loads(path.read_bytes().splitlines()[0])
    assert set(document) == {"time", "stream", "line"}
    assert len(document["time"]) == 27
    assert path.stat().st_mode & 0o777 == 0o600


@given(st.lists(st.binary(max_size=3 * 64), max_size=8), st.integers(1, 40))
def test_no_byte_is_lost_however_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], limit: int
) -> None:
    pieces = [bytes(b & 0x7F for b in piece) for piece in pieces]
    path = tmp_path_factory.mktemp("log") / "log"
    old, old_copy = logs.LONGEST_LINE, logs._MAX_COPY
    logs.LONGEST_LINE, logs._MAX_COPY = limit, limit + 3
    try:
        writer = LogWriter(path)
        stream = LogStream(writer, "stdout")
        for piece in pieces:
            write(stream, piece)
        stream.flush()
        writer.close()
    finally:
        logs.LONGEST_LINE, logs._MAX_COPY = old, old_copy
    text = "".join(r.line + ("" if r.partial else "\n") for r in read(path))
    whole = b"".join(pieces).decode("ascii")
    assert text in (whole, whole + "\n")
    assert all(len(r.line) <= limit for r in read(path))


def test_a_line_without_end_is_cut(path: Path) -> None:
    writer = LogWriter(path)
    stream = LogStream(writer, "stdout")
    write(stream, b"x" * (LONGEST_LINE + 5))
    assert [(len(r.line), r.partial) for r in read(path)] == [(LONGEST_LINE, True)]
    write(stream, b"\n")
    assert [(len(r.line), r.partial) for r in read(path)][1] == (5, False)
    writer.close()


def test_rotation_keeps_the_newest_and_a_follower_misses_nothing(path: Path) -> None:
    writer = LogWriter(path, size=1000)
    stream = LogStream(writer, "stdout")
    reader = LogReader(path)
    seen: list[str] = []
    for number in range(60):
        write(stream, b"line %d\n" % number)
        if number % 7 == 0:
            seen += [r.line for r in reader.records()]
    seen += [r.line for r in reader.records()]
    reader.close()
    writer.close()
    assert seen == [f"line {n}" for n in range(60)]
    kept = [r.line for r in read(path)]
    assert kept == seen[-len(kept) :]
    assert 20 < len(kept) < 60
    assert sorted(p.name for p in path.parent.iterdir()) == ["log", "log.1", "log.2"]
    assert all(p.stat().st_size <= 1000 for p in path.parent.iterdir())


def test_tail_and_since(path: Path) -> None:
    writer = LogWriter(path)
    for number in range(5):
        writer.append("stdout", [(b"%d" % number, False)])
    writer.close()
    assert [r.line for r in read(path, tail=2)] == ["3", "4"]
    assert read(path, tail=0) == []
    third = read(path)[2].time
    assert [r.line for r in read(path, since=third)] == ["2", "3", "4"]
    assert read(path, since="9999-01-01T00:00:00Z") == []


def test_a_reader_may_come_before_the_log(path: Path) -> None:
    reader = LogReader(path, tail=1)
    assert list(reader.records()) == []
    writer = LogWriter(path)
    writer.append("stdout", [(b"first", False)])
    assert [r.line for r in reader.records()] == ["first"]
    assert list(reader.records()) == []
    writer.append("stdout", [(b"second", False)])
    assert [r.line for r in reader.records()] == ["second"]
    writer.close()
    reader.close()


def test_a_full_disk_never_reaches_the_guest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    writer = LogWriter(path)
    stream = LogStream(writer, "stdout")
    write(stream, b"a\nb\n")
    assert writer.dropped == 2
    writer.close()
    gone = LogWriter(tmp_path / "missing" / "log")
    gone.append("stdout", [(b"x", False)])
    assert gone.dropped == 1
    (tmp_path / "missing").mkdir()
    gone.append("stdout", [(b"y", False)])
    assert [r.line for r in read(tmp_path / "missing" / "log")] == ["y"]
    gone.close()


def test_damaged_records_are_skipped(path: Path) -> None:
    good = b'{"time":"2026-01-01T00:00:00.000000Z","stream":"stdout","line":"ok"}\n'
    path.write_bytes(b'{"time":"20\n' + good + b"[]\nnull\n{}\n" + b"[" * 99999 + b"\n" + good)
    assert [r.line for r in read(path)] == ["ok", "ok"]


def test_a_single_file_begins_anew(path: Path) -> None:
    writer = LogWriter(path, size=1000, files=1)
    for number in range(60):
        writer.append("stdout", [(b"line %d" % number, False)])
    writer.close()
    kept = [record.line for record in read(path)]
    assert kept == [f"line {number}" for number in range(60)][-len(kept) :]
    assert [p.name for p in path.parent.iterdir()] == ["log"]
    assert path.stat().st_size <= 1000


def test_as_many_files_as_asked_for_are_kept_and_read(path: Path) -> None:
    writer = LogWriter(path, size=1000, files=7)
    for number in range(60):
        writer.append("stdout", [(b"line %d" % number, False)])
    writer.close()
    assert [record.line for record in read(path)] == [f"line {number}" for number in range(60)]
    assert len(list(path.parent.iterdir())) > 4


def test_lines_above_the_rate_are_dropped_and_counted(path: Path) -> None:
    writer = LogWriter(path, rate=10)
    for number in range(500):
        writer.append("stdout", [(b"%d" % number, False), (b"and", False)])
    writer.close()
    writer.close()
    records = list(read(path))
    kept = [record for record in records if record.stream == "stdout"]
    told = [int(record.line.split()[0]) for record in records if record.stream == "system"]
    assert len(kept) + writer.dropped == 1000
    assert sum(told) == writer.dropped
    # Perhaps a second or two went by meanwhile.
    assert 10 <= len(kept) <= 100
    assert len(kept) % 10 == 0
    assert records[-1].line.endswith("lines dropped: more than 10 a second")
