"""Service logs: written by the runner straight from the guest's write, read by whoever asks.

A log is JSON lines, `{"time": RFC 3339, "stream": …, "line": …}`, in `containers/<id>/log`; when it
is full it becomes `log.1` and so on (docs/formats/bundle.md). Nothing passes through the
supervisor, so a log survives its restart and a chatty guest costs nobody else anything.

Bytes that are no UTF-8 become U+FFFD, as in Docker's logs. A line longer than LONGEST_LINE is cut
into objects with `partial`. A disk that is full, or any other error of the log file, never reaches
the guest: the lines are dropped and counted. So are lines above the rate that the service is
allowed; then a line says how many. Lock order: LogWriter's lock is a leaf.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from balenawasm.record import NamedTuple
from balenawasm.vfs.description import Description
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from balenawasm.vfs.description import Buffers
    from balenawasm.vfs.node import Caller

LONGEST_LINE = 16 << 10
"""Bytes after which a line is written without waiting for its end."""
LOG_SIZE = 10 << 20
"""Bytes after which a log file is rotated."""
LOG_FILES = 3
"""Files kept, the current one included."""
MAX_LOG_FILES = 100
"""A service may ask for so many."""
SYSTEM_STREAM = "system"
"""The stream of lines that balenawasm itself writes about the container."""

_BLOCK = 64 << 10
_MAX_COPY = 64 << 10
"""Bytes taken at once: each may be a line, and becomes a record of a hundred bytes."""
_END, _PARTIAL_END = "}\n", ',"partial":true}\n'
_MAX_RECORD = 8 * LONGEST_LINE
"""A record's length in a sound log; anything longer was not written by us and is skipped."""


class LogWriter:
    """A container's log file, shared by its streams. No method raises OSError."""

    def __init__(
        self,
        path: Path,
        *,
        size: int = LOG_SIZE,
        files: int = LOG_FILES,
        rate: int | None = None,
    ) -> None:
        """Keep `files` files of `size` bytes; of more than `rate` lines in a second the rest is
        dropped.
        """
        self._path = path
        self._size = size
        self._files = files
        self._rate = rate
        self._second = 0
        self._taken = 0
        """Lines in that second."""
        self._over_rate = 0
        """Lines dropped that no line speaks of yet."""
        self._lock = threading.Lock()
        self._fd = -1
        self._written = 0
        self._closed = False
        self._open()
        self.dropped = 0
        """Lines lost to the rate and to errors of the log file."""

    def append(self, stream: str, lines: list[tuple[bytes, bool]]) -> None:
        """Write (line, partial) pairs of one stream, all with the time of now."""
        if self._rate is not None:
            lines = self._within_rate(lines, self._rate)
        if lines:
            self._write(stream, lines)

    def _within_rate(self, lines: list[tuple[bytes, bool]], rate: int) -> list[tuple[bytes, bool]]:
        """Take what the current second has room for. The first line of a later one says what was
        dropped.
        """
        with self._lock:
            second = int(time.monotonic())
            missing = 0
            if second != self._second:
                self._second, self._taken = second, 0
                missing, self._over_rate = self._over_rate, 0
            taken = lines[: max(rate - self._taken, 0)]
            self._taken += len(taken)
            self._over_rate += len(lines) - len(taken)
            self.dropped += len(lines) - len(taken)
        if missing:
            self._tell_missing(missing)
        return taken

    def _tell_missing(self, count: int) -> None:
        text = f"{count} lines dropped: more than {self._rate} a second"
        self._write(SYSTEM_STREAM, [(text.encode(), False)])

    def _write(self, stream: str, lines: list[tuple[bytes, bool]]) -> None:
        start = f'{{"time":"{now_text()}","stream":"{stream}","line":'
        data = "".join(
            start
            + json.dumps(line.decode("utf-8", "replace"))
            + (_PARTIAL_END if partial else _END)
            for line, partial in lines
        ).encode("ascii")
        with self._lock:
            if self._closed:
                return
            if self._written + len(data) > self._size and self._written:
                self._rotate()
            if self._fd < 0:
                self._open()
            try:
                # One write, so that a crash leaves whole lines; a short one is ended by hand.
                written = os.write(self._fd, data)
                self._written += written
                if written < len(data):
                    self.dropped += data.count(b"\n", written)
                    self._written += os.write(self._fd, b"\n")
            except OSError:
                self.dropped += len(lines)

    def close(self) -> None:
        """Close the file; later lines are dropped."""
        if self._over_rate:
            self._tell_missing(self._over_rate)
            self._over_rate = 0
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd, self._closed = -1, True

    def _open(self) -> None:
        try:
            self._fd = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            self._written = os.fstat(self._fd).st_size
        except OSError:
            self._fd = -1

    def _rotate(self) -> None:
        """Rename log → log.1 → log.2 …; the oldest falls off. An error keeps the current file."""
        try:
            if self._files == 1:
                self._path.unlink(missing_ok=True)
            for number in range(self._files - 1, 0, -1):
                source = _numbered(self._path, number - 1)
                with contextlib.suppress(FileNotFoundError):
                    source.replace(_numbered(self._path, number))
        except OSError:
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._open()


class LogStream(Description):
    """Standard output or error of a container: what the guest writes becomes log lines."""

    filetype = Filetype.UNKNOWN
    readable = False

    def __init__(self, writer: LogWriter, stream: str) -> None:
        super().__init__()
        self._writer = writer
        self._stream = stream
        self._rest = b""
        self._rest_lock = threading.Lock()

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Take everything; whole lines go to the file at once, the rest waits for its newline."""
        total = sum(buffer.nbytes for buffer in buffers)
        with self._rest_lock:
            if total <= _MAX_COPY:
                self._take(b"".join(buffers))
            else:
                # Guests name sizes: never copy more than this at once, and let a kill interrupt.
                for buffer in buffers:
                    for start in range(0, buffer.nbytes, _MAX_COPY):
                        caller.wait((), 0)
                        self._take(bytes(buffer[start : start + _MAX_COPY]))
        return total

    def flush(self) -> None:
        """Write an unfinished last line."""
        with self._rest_lock:
            if self._rest:
                self._writer.append(self._stream, [(self._rest, False)])
                self._rest = b""

    def close(self) -> None:
        """The last fd is gone: write the unfinished line."""
        self.flush()

    def _take(self, data: bytes) -> None:
        pieces = (self._rest + data).split(b"\n")
        rest = pieces.pop()
        lines: list[tuple[bytes, bool]] = []
        for piece in pieces:
            if len(piece) <= LONGEST_LINE:
                lines.append((piece, False))
            else:
                last = (len(piece) - 1) // LONGEST_LINE * LONGEST_LINE
                lines += _partials(piece, last)
                lines.append((piece[last:], False))
        if len(rest) >= LONGEST_LINE:
            whole = len(rest) // LONGEST_LINE * LONGEST_LINE
            lines += _partials(rest, whole)
            rest = rest[whole:]
        self._rest = rest
        if lines:
            self._writer.append(self._stream, lines)


def _partials(line: bytes, end: int) -> list[tuple[bytes, bool]]:
    return [(line[at : at + LONGEST_LINE], True) for at in range(0, end, LONGEST_LINE)]


class LogRecord(NamedTuple):
    """One object of a log. `line` has no newline; `partial` says that the next one goes on with it.

    Times compare as text: all have the same length and end in Z.
    """

    time: str
    stream: str
    line: str
    partial: bool


class LogReader:
    """Reads a log from its oldest file to its end, and then what is appended, over rotations."""

    def __init__(self, path: Path, *, since: str | None = None, tail: int | None = None) -> None:
        """Start at the records not older than `since`, and of these at the last `tail`."""
        self._path = path
        self._since = since
        self._tail = tail
        self._file: BinaryIO | None = None
        self._rest = b""

    def records(self) -> Iterator[LogRecord]:
        """Yield what has been written since the last call; a caller that follows calls again."""
        if self._file is None:
            yield from self._first_records()
            return
        yield from self._new_records(self._file)
        while self._rotated():
            # The file we were reading is complete; what came after it is in newer files.
            newer = self._files_after(os.fstat(self._file.fileno()).st_ino)
            if not newer:
                return
            self._file.close()
            self._rest = b""
            yield from self._from_files(newer)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _first_records(self) -> Iterator[LogRecord]:
        files = self._files_after(None)
        if not files:
            return
        records: Iterable[LogRecord] = self._from_files(files)
        if self._tail is not None:
            records = deque(records, maxlen=self._tail)
        yield from records

    def _from_files(self, files: list[BinaryIO]) -> Iterator[LogRecord]:
        """Read files to their ends, oldest first, and stay at the last one."""
        for file in files[:-1]:
            with file:
                yield from self._new_records(file)
            self._rest = b""
        self._file = files[-1]
        yield from self._new_records(self._file)

    def _new_records(self, file: BinaryIO) -> Iterator[LogRecord]:
        """Yield a file's records from where it was read to; a new file starts with no rest."""
        while block := file.read(_BLOCK):
            *lines, self._rest = (self._rest + block).split(b"\n")
            if len(self._rest) > _MAX_RECORD:
                self._rest = b""
            for line in lines:
                record = _parse(line)
                if record is not None and (self._since is None or record.time >= self._since):
                    yield record

    def _rotated(self) -> bool:
        assert self._file is not None  # noqa: S101 - the caller has read from it
        try:
            return self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _files_after(self, inode: int | None) -> list[BinaryIO]:
        """Open the log's files, oldest first; only those newer than the one with `inode`."""
        newest_first: list[BinaryIO] = []
        for number in range(MAX_LOG_FILES):
            try:
                file = _numbered(self._path, number).open("rb")
            except OSError:
                if number >= LOG_FILES:
                    break
                continue  # it may just be between two names
            if os.fstat(file.fileno()).st_ino == inode:
                file.close()
                break
            newest_first.append(file)
        return newest_first[::-1]


def now_text() -> str:
    """The time of now as RFC 3339 in UTC with microseconds, always 27 characters."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second_text(seconds)}.{nanoseconds // 1000:06d}Z"


@lru_cache(maxsize=2)
def _second_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def _parse(line: bytes) -> LogRecord | None:
    """Return a record; None for what a crash or a full disk left of one."""
    try:
        document = json.loads(line)
        record = LogRecord(
            document["time"], document["stream"], document["line"], document.get("partial", False)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if isinstance(record.time, str) and isinstance(record.line, str) else None
