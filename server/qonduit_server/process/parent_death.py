# SPDX-License-Identifier: Apache-2.0
"""Ties a process to its parent: the kernel kills it when its parent is gone, however that ended.

Run as a program (`python -I -S parent_death.py PARENT COMMAND...`), it ties itself and becomes the command, so that a
command is tied before its first instruction, whatever it is. It imports nothing but a little of the standard library.

The kernel means the thread that started the process, not only its process: a thread that starts processes has to live
as long as they.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def tie(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; elsewhere than on Linux its closed socket ends it.

    Args:
        parent: the process that started this one. If it is gone already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(os.EX_UNAVAILABLE)


def tied(command: Sequence[str]) -> list[str]:
    """Return the command that runs a command which is killed when this process dies, or the calling thread ends.

    Raises:
        OSError: there is no such program, or it cannot be executed.
    """
    if sys.platform != "linux":
        return list(command)
    import shutil  # the tie itself has no use for it

    if (program := shutil.which(command[0])) is None:
        raise FileNotFoundError(f"{command[0]} is not a program that can be executed")
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), program, *command[1:]]


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
