"""Records that WASI preview 1 lays out in guest memory, as `struct.Struct` (all little-endian).

Fields, in order:
- FDSTAT (24 bytes): fs_filetype, fs_flags, fs_rights_base, fs_rights_inheriting
- FILESTAT (64): dev, ino, filetype, nlink, size, atim, mtim, ctim
- DIRENT (24): d_next, d_ino, d_namlen, d_type
- PRESTAT (8): tag (0 = dir), pr_name_len
- IOVEC (8): buf, buf_len
- SUBSCRIPTION (48): userdata, tag; the union starts at byte 16
- SUBSCRIPTION_CLOCK: id, timeout, precision, flags
- SUBSCRIPTION_FD: file_descriptor
- EVENT (32): userdata, error, type, nbytes, flags
"""

from __future__ import annotations

import struct
from typing import Final

U16: Final = struct.Struct("<H")
U32: Final = struct.Struct("<I")
U64: Final = struct.Struct("<Q")

FDSTAT: Final = struct.Struct("<BxH4xQQ")
FILESTAT: Final = struct.Struct("<QQB7xQQQQQ")
DIRENT: Final = struct.Struct("<QQIB3x")
PRESTAT: Final = struct.Struct("<B3xI")
IOVEC: Final = struct.Struct("<II")
SUBSCRIPTION: Final = struct.Struct("<QB7x32x")
SUBSCRIPTION_UNION_OFFSET: Final = 16
SUBSCRIPTION_CLOCK: Final = struct.Struct("<I4xQQH6x")
SUBSCRIPTION_FD: Final = struct.Struct("<I")
EVENT: Final = struct.Struct("<QHB5xQH6x")
