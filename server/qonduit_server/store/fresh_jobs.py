# SPDX-License-Identifier: Apache-2.0
"""The jobs that a transaction creates while no other job is queued, so that its claim need not read them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job


class FreshJob(NamedTuple):
    """A queued job that the current transaction has created.

    Attributes:
        job: the job; not to be changed.
        owner: its owner.
        queue: its queue (job_pools.py), or the time at which it may start.
        device: its device.
        programs: its programs as they are stored; empty if they are not in memory.
        has_credential: whether it needs a credential.
    """

    job: Job
    owner: str
    queue: int
    device: Device
    programs: Sequence[bytes]
    has_credential: bool
