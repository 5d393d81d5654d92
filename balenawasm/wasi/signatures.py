"""Import names of `wasi_snapshot_preview1` → wasm parameters, a letter each: `i` i32, `q` i64.

Every function answers one i32 (an errno) except proc_exit, which does not return.
"""

from __future__ import annotations

from typing import Final

MODULE: Final = "wasi_snapshot_preview1"
LEGACY_MODULE: Final = "wasi_unstable"

SIGNATURES: Final[dict[str, str]] = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iqi",
    "fd_advise": "iqqi",
    "fd_allocate": "iqq",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iqq",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iq",
    "fd_filestat_set_times": "iqqi",
    "fd_pread": "iiiqi",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiiqi",
    "fd_read": "iiii",
    "fd_readdir": "iiiqi",
    "fd_renumber": "ii",
    "fd_seek": "iqii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiqqi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiqqii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "sched_yield": "",
    "random_get": "ii",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
