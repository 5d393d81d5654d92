"""Starting a zygote as a process of its own: for the supervisor and for builds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import balenawasm
from balenawasm.runtime import control

if TYPE_CHECKING:
    from balenawasm.runtime.control import Channel
    from balenawasm.runtime.home import Home


def start_zygote(
    home: Home, *, own_session: bool = False, umask: int = -1
) -> tuple[subprocess.Popen[bytes], Channel]:
    """Start a zygote; returns its process and our end of its channel, which blocks.

    Closing the channel ends it with all its runners. `own_session` keeps what is typed at our
    terminal from it. `umask` is for the files of its guests; -1: ours. ControlError when it cannot
    be started.
    """
    ours, theirs = control.make_pair()
    fd = theirs.fileno()
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "balenawasm.runtime.zygote"),
                *("--home", str(home.root), "--channel", str(fd)),
            ],
            stdin=subprocess.DEVNULL,
            # The package may be run from a checkout: `-m` looks in the working directory.
            cwd=Path(next(iter(balenawasm.__path__))).parent,
            pass_fds=(fd,),
            start_new_session=own_session,
            umask=umask,
        )
    except OSError as error:
        ours.close()
        raise control.ControlError(f"cannot start the zygote: {error}") from error
    finally:
        theirs.close()
    return process, ours
