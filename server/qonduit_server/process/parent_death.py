# SPDX-License-Identifier: Apache-2.0
"""Kill a process when its parent dies, by the parent-death signal of Linux.

Run as a program (`python -I -S parent_death.py PARENT COMMAND...`), this module requests the signal and then executes
the command, so the signal is set before the first instruction of any command. It imports only the standard library.

The kernel sends the signal when the thread that started the process ends, so that thread must outlive its processes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def set_death_signal(parent: int) -> None:
    """Request that the kernel kills this process when its parent dies. Elsewhere than on Linux, this does nothing.

    Args:
        parent: the process id of the parent. If the parent is dead already, this process exits at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(os.EX_UNAVAILABLE)


def with_death_signal(command: Sequence[str]) -> list[str]:
    """Wrap a command so that the kernel kills it when this process dies or the calling thread ends.

    Raises:
        OSError: the program does not exist or is not executable.
    """
    if sys.platform != "linux":
        return list(command)
    import shutil  # not needed when run as a program

    if (program := shutil.which(command[0])) is None:
        raise FileNotFoundError(f"{command[0]} is not a program that can be executed")
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), program, *command[1:]]


if __name__ == "__main__":
    set_death_signal(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
