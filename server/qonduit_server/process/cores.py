# SPDX-License-Identifier: Apache-2.0
"""The number of cores that this process may use: of the machine, of its container, or of its job in Slurm."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from qonduit_server.process.control_groups import read_limits
from qonduit_server.process.slurm_allocation import allocated_cores


@functools.cache
def usable_cores(root: Path | None = None) -> int:
    """Return the number of cores of this process: of its affinity, its control group, or its job in Slurm.

    A quota is rounded up: 1.5 cores are 2 threads. The number is read once.

    Args:
        root: the folder that contains `proc` and `sys`; by default that of this machine.
    """
    machine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min((machine, *_quotas(root), *allocated_cores()))


def _quotas(root: Path | None) -> Iterator[int]:
    """Yield the quotas of this process's control groups in cores, of version 1 and 2."""
    periods = read_limits("cpu", ("cpu.cfs_period_us", "cpu.max"), root)
    for quota, period in zip(read_limits("cpu", ("cpu.cfs_quota_us", "cpu.max"), root), periods, strict=False):
        try:
            # Version 2 has both numbers in one file: "150000 100000".
            used, every = int(quota.split()[0]), int(period.split()[-1])
        except (ValueError, IndexError):  # "max 100000" is no quota
            continue
        if used > 0 and every > 0:
            yield -(-used // every)
