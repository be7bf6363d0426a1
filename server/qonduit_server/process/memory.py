# SPDX-License-Identifier: Apache-2.0
"""Memory of this process: the usable amount, the address space of a task, and sizes as text."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from qonduit_server.process.control_groups import read_limits
from qonduit_server.process.cores import usable_cores
from qonduit_server.process.slurm_allocation import allocated_memory

#: A parameter of mallopt, and the value set here.
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 1024**2
#: Address space of a task's process beside the task's memory: the SDK, results in transit, and the stack and heap of
#: each simulation thread.
_PROCESS_BYTES: Final = 512 * 1024**2
_THREAD_BYTES: Final = (8 + 64) * 1024**2


def usable_memory(root: Path | None = None) -> int:
    """Return the machine's memory in bytes, or the limit of the control group or of the job in Slurm if that is lower.

    Args:
        root: the folder that contains `proc` and `sys`; by default that of this machine.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min((machine, *_limits(root), *allocated_memory()))


def address_space(task_bytes: int) -> int:
    """Return the address space, in bytes, that a process needs to run a task of `task_bytes` memory."""
    return task_bytes + _PROCESS_BYTES + _THREAD_BYTES * usable_cores()


def format_bytes(size: int) -> str:
    """Return a number of bytes as readable text, such as "1.5 GiB"."""
    if size >= 1 << 70:
        return f"10^{len(str(size)) - 1} B"
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def return_large_blocks() -> None:
    """Configure malloc to return every large block to the system when it is freed.

    By default, the GNU C library keeps freed memory for later blocks, up to 32 MiB in the arena of each thread. With
    another C library, this does nothing.
    """
    _c_function("mallopt")(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def release_unused() -> None:
    """Return freed memory to the system. With another C library than GNU's, this does nothing."""
    _c_function("malloc_trim")(0)


def _c_function(name: str) -> Callable[..., int]:
    import ctypes  # workers do not need it

    found: Callable[..., int] = getattr(ctypes.CDLL(None), name, lambda *_: 0)
    return found


def _limits(root: Path | None) -> Iterator[int]:
    """Yield the memory limits of this process's control groups, of version 1 and 2."""
    for text in read_limits("memory", ("memory.limit_in_bytes", "memory.max"), root):
        with contextlib.suppress(ValueError):  # "max" is no limit
            if (limit := int(text)) > 0:
                yield limit
