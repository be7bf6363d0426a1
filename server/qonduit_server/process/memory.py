# SPDX-License-Identifier: Apache-2.0
"""How much memory there is for this process, what running a task takes, and how sizes are written for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_ROOT: Final = Path("/")
#: A parameter of mallopt, and the value that it gets here.
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 1024**2
#: What a process that runs a task adds to its address space beside what the task is said to take: what the SDK needs,
#: results on their way, and for each thread of a simulation its stack and heap.
_PROCESS_BYTES: Final = 512 * 1024**2
_THREAD_BYTES: Final = (8 + 64) * 1024**2


def usable_memory(root: Path = _ROOT) -> int:
    """Return the machine's memory in bytes; in a container what its control group may use, where that is less.

    Args:
        root: where `proc` and `sys` are found.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min((machine, *_limits(root)))


def address_space(task_bytes: int) -> int:
    """Return the bytes that a process must be able to add to its address space, to run a task of so much memory."""
    return task_bytes + _PROCESS_BYTES + _THREAD_BYTES * (os.cpu_count() or 1)


def format_bytes(size: int) -> str:
    """Return a number of bytes for people."""
    if size >= 1 << 70:
        return f"10^{len(str(size)) - 1} B"
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def return_large_blocks() -> None:
    """Have every large block returned to the system when it is freed.

    By default, the GNU C library keeps what was freed for the next block of that size, in an arena for each thread: up
    to 32 MiB each. With another library, nothing happens.
    """
    _c_function("mallopt")(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def release_unused() -> None:
    """Return the memory that this process has freed to the system. With another library than GNU's, nothing happens."""
    _c_function("malloc_trim")(0)


def _c_function(name: str) -> Callable[..., int]:
    import ctypes  # a worker never needs it

    found: Callable[..., int] = getattr(ctypes.CDLL(None), name, lambda *_: 0)
    return found


def _limits(root: Path) -> Iterator[int]:
    """Yield the limits of this process's control groups, of version 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounted, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mounted, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # A group is bounded by those around it as well. In a container the path may be the one that the host knows: it
        # is not there then, and the group of the container is what is mounted.
        group = PurePosixPath("/", path)
        for each in (group, *group.parents):
            try:
                limit = int((mounted / each.relative_to("/") / name).read_text(encoding="ascii"))
            except (OSError, ValueError):  # not there; or "max"
                continue
            if limit > 0:
                yield limit
