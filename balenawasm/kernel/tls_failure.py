"""From what the ssl module or a host socket raises to what guests are told of it."""

from __future__ import annotations

import re
import ssl
from typing import Final

from balenawasm.vfs.filesystems.net_tls import TlsFailure
from balenawasm.wasi.errno import Errno, from_oserror

_PLACE: Final = re.compile(r"\s*\(_ssl\.c:\d+\)\Z")
"""Where in CPython's source an error was noticed: of no use to a guest."""

_BROKEN_OFF: Final = "UNEXPECTED_EOF_WHILE_READING"


def failure_of(error: OSError) -> TlsFailure:
    """Describe what was raised; the text is the message of Python's exception."""
    if not isinstance(error, ssl.SSLError):
        errno = from_oserror(error)
        return TlsFailure(errno, "system", "", "", int(errno), error.strerror or str(error))
    text = _PLACE.sub("", str(error.strerror or (error.args[-1] if error.args else "")))
    kind, code = "protocol", error.errno or 0
    if isinstance(error, ssl.SSLCertVerificationError):
        kind, code = "verify", error.verify_code
    # What the module raises by itself has neither.
    library, reason = getattr(error, "library", None), getattr(error, "reason", None)
    # Before Python 3.11.4 it is a plain SSLError.
    if isinstance(error, ssl.SSLEOFError) or reason == _BROKEN_OFF:
        kind = "eof"
    return TlsFailure(Errno.EPROTO, kind, library or "", reason or "", code, text)
