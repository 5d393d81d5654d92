"""What can be wrong with an ext4 image that is read, and with entries that are to be written."""

from __future__ import annotations

from balenawasm.errors import BalenaWasmError


class CorruptImageError(BalenaWasmError):
    """Bytes of an image break the format: names the field, its value and its offset in bytes."""

    def __init__(
        self, field: str, value: object, offset: int, problem: str, *, hint: str | None = None
    ) -> None:
        super().__init__(
            f"bad ext4 image: {field} is {value} at byte {offset}: {problem}", hint=hint
        )
        self.field = field
        self.value = value
        self.offset = offset


class UnsupportedImageError(CorruptImageError):
    """The image may be sound, but uses a part of ext4 that this reader leaves out."""


class InvalidEntryError(BalenaWasmError):
    """An entry cannot be written: a bad path, a missing parent, something ext4 cannot hold."""

    def __init__(self, path: bytes, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot write {ascii_path(path)} to an ext4 image: {problem}", hint=hint)
        self.path = path


class SourceReadError(BalenaWasmError):
    """A host file that an entry names cannot be read."""


class SourceChangedError(SourceReadError):
    """A host file changed its size or kind between being listed and being read."""


class ImageTooLargeError(BalenaWasmError):
    """The entries together need more than an ext4 image can hold."""


def ascii_path(path: bytes) -> str:
    """Return a path for messages: `/` and its text, with bytes that are not printable escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "/" + "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
