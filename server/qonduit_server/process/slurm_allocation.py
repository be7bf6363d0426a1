# SPDX-License-Identifier: Apache-2.0
"""The cores and the memory of this process's job in Slurm, for clusters whose control groups do not enforce them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

_MEBIBYTE: Final = 1024**2


def allocated_cores(environment: Mapping[str, str] = os.environ) -> Iterator[int]:
    """Yield the limits of the cores: those of the job on this node, and those of one of its tasks."""
    for name in ("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK"):
        if number := _number(environment, name):
            yield number


def allocated_memory(environment: Mapping[str, str] = os.environ) -> Iterator[int]:
    """Yield the limit of the memory on this node in bytes, if the job has one."""
    if mebibytes := _number(environment, "SLURM_MEM_PER_NODE"):
        yield mebibytes * _MEBIBYTE
    if mebibytes := _number(environment, "SLURM_MEM_PER_CPU"):
        yield mebibytes * _MEBIBYTE * min(allocated_cores(environment), default=1)


def _number(environment: Mapping[str, str], name: str) -> int:
    """Return a positive number; 0, which Slurm uses for "no limit", without one."""
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else 0
