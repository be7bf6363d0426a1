# SPDX-License-Identifier: Apache-2.0
"""Forbid core dumps of a process that holds secrets."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def forbid_core_dumps() -> None:
    """Forbid core dumps of this process and, on Linux, that other processes of the same user read its memory.

    The resource limit alone is not enough: the kernel ignores it for core dumps that it pipes to a program. Processes
    that this one starts inherit the limit; a program that they execute can be traced again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
