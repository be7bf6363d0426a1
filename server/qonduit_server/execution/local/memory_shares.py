# SPDX-License-Identifier: Apache-2.0
"""The shares of the memory of one machine: for the tasks of jobs, and for interactive tasks."""

from __future__ import annotations

from typing import Final, NamedTuple

from qonduit_server.execution.executor import ExecutorOptions

#: The kinds of interactive tasks, each with places of its own: those without a provider, and compilations.
_KINDS: Final = 2
#: The part of the memory that is reserved for interactive tasks: one of this number.
_PART: Final = 4
#: The memory of one process: the largest programs take a few hundred megabytes, and Python source may take more.
_MOST_BYTES: Final = 2 * 1024**3
#: With this memory for each of two processes, two tasks of a kind run at once.
_ENOUGH_BYTES: Final = 768 * 1024**2
#: The least memory of one process, if it is at most a quarter of the machine's: an SDK needs it to compile.
_LEAST_BYTES: Final = 512 * 1024**2


class MemoryShares(NamedTuple):
    """The shares of the memory that tasks may take on a machine.

    Attributes:
        workers: the maximum of concurrent interactive tasks of each kind.
        process_bytes: the limit of the address space that the process of one may add; 0 means no limit.
        job_bytes: the limit of the memory of all running tasks of jobs, as their workers estimate; 0 means no limit.
    """

    workers: int
    process_bytes: int
    job_bytes: int


def memory_shares(options: ExecutorOptions) -> MemoryShares:
    """Divide the memory of a machine, so that all tasks together stay within `options.memory_bytes`.

    The share of interactive tasks is fixed: a caller does not wait until a large job has ended.
    """
    total = options.memory_bytes
    most = min(options.task_memory_bytes or _MOST_BYTES, _MOST_BYTES)
    if not total:
        return MemoryShares(2, most, 0)
    reserved = total // _PART
    workers = 2 if reserved >= 2 * _KINDS * _ENOUGH_BYTES else 1
    process_bytes = min(most, max(min(_LEAST_BYTES, reserved), reserved // (_KINDS * workers)))
    return MemoryShares(workers, process_bytes, total - _KINDS * workers * process_bytes)
